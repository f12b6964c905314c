package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// pip fetches Python distributions. Of a version that a requirements file
// locks, an index tells which file each checksum is of; what it said is
// remembered in the store, so that a later run asks nobody.
type pip struct {
	run   *run
	files *files // those that the lockfile gives a URL of
	conf  func() pipConf
	wants sync.Map // ecosystem.PipWants by their text, which most packages share
}

// wantsOf are the files that the inputs of a unit want.
func (p *pip) wantsOf(alts []*item) ecosystem.PipWants {
	text := alts[0].Wants
	got, ok := p.wants.Load(text)
	if !ok {
		got, _ = p.wants.LoadOrStore(text, ecosystem.ParsePipWants(text))
	}
	return got.(ecosystem.PipWants)
}

func newPip(r *run) *pip {
	return &pip{
		run: r, files: newFiles(r, fileSource{kind: "pip"}),
		conf: sync.OnceValue(func() pipConf { return readPipConf(r.env) }),
	}
}

// prepare implements backend.
func (p *pip) prepare(*item) {}

// A listing says which file has which checksum.
type listing struct {
	Sum    string `json:"sum"`
	File   string `json:"file"`
	Yanked bool   `json:"yanked,omitempty"`
}

// noteOf is the name of the record of what an index said about alternatives.
func noteOf(alts []*item) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", alts[0].Name, alts[0].Version)
	for _, it := range alts { // sorted by Kind, their sum
		b.WriteString(it.Kind + "\n")
	}
	return "pip/" + cache.SumBytes([]byte(b.String())).Hex()
}

// alternatives are those of a unit.
func alternatives(unit []*item) []*item {
	var out []*item
	for _, it := range unit {
		if it.Need == cache.Alternative {
			out = append(out, it)
		}
	}
	return out
}

// choose implements chooser: what an index said in an earlier run will do.
// Without that, one item stands for the whole requirement.
func (p *pip) choose(unit []*item) {
	alts := alternatives(unit)
	if len(alts) == 0 {
		return
	}
	var known []listing
	data, err := p.run.store.ReadNote(noteOf(alts))
	if err == nil && json.Unmarshal(data, &known) == nil && p.decide(alts, known) == "" {
		return
	}
	for _, it := range alts {
		it.file, it.state = "", skipped
	}
	alts[0].state = wanted
}

// decide gives the alternatives that are wanted the names of their files, and
// skips the others. What is lacking is told in words.
func (p *pip) decide(alts []*item, known []listing) string {
	var of []*item
	var files []ecosystem.PipFile
	for _, it := range alts {
		for _, l := range known {
			if l.Sum == it.Sum.String() && ecosystem.IsPipFile(l.File) {
				of = append(of, it)
				files = append(files, ecosystem.PipFile{Name: l.File, Yanked: l.Yanked})
				break
			}
		}
	}
	take, lacking := p.wantsOf(alts).Choose(alts[0].Name, files)
	for _, it := range alts {
		it.file, it.state = "", skipped
	}
	taken := map[string]bool{}
	for _, i := range take {
		if !taken[files[i].Name] { // a file may be listed under two algorithms
			taken[files[i].Name] = true
			of[i].file, of[i].state = files[i].Name, wanted
		}
	}
	return strings.Join(lacking, "; ")
}

// fetch implements backend.
func (p *pip) fetch(ctx context.Context, unit []*item) error {
	var locked []*item
	for _, it := range unit {
		if it.Need != cache.Alternative {
			locked = append(locked, it)
		}
	}
	if err := p.fetchLocked(ctx, locked); err != nil {
		return err
	}
	alts := alternatives(unit)
	var listed []indexFile
	for _, it := range alts {
		if it.state != wanted {
			continue
		}
		if it.file == "" {
			return p.fetchUndecided(ctx, it, alts)
		}
		err := p.run.settle(ctx, it, func() error {
			var err error
			if listed == nil {
				if listed, _, err = p.find(ctx, alts, nil); err != nil {
					return err
				}
			}
			return p.download(ctx, it, listed)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fetchLocked gets files of which the lockfile tells the URL. A mirror is an
// index: it knows them by their checksums.
func (p *pip) fetchLocked(ctx context.Context, items []*item) error {
	if _, mirrored := p.run.opts.Mirrors["pip"]; !mirrored {
		return p.files.fetch(ctx, items)
	}
	for _, it := range items {
		if it.state != wanted {
			continue
		}
		if it.Kind != "sdist" && it.Kind != "wheel" {
			if err := p.files.fetch(ctx, []*item{it}); err != nil {
				return err
			}
			continue
		}
		err := p.run.settle(ctx, it, func() error {
			listed, _, err := p.find(ctx, []*item{it}, nil)
			if err != nil {
				return err
			}
			return p.download(ctx, it, listed)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fetchUndecided asks the indexes which files a requirement's checksums are of,
// and gets those that are wanted. rep, one of alts, stands for all of them.
func (p *pip) fetchUndecided(ctx context.Context, rep *item, alts []*item) error {
	err := p.run.settle(ctx, rep, func() error {
		listed, known, err := p.find(ctx, alts, p.decide)
		if err != nil {
			return err
		}
		for _, it := range alts {
			if it.state != wanted {
				continue
			}
			it.state = skipped // rep tells what is wrong
			if err := p.download(ctx, it, listed); err != nil {
				return err
			}
			it.state = held
		}
		data, err := json.Marshal(known)
		if err == nil {
			err = p.run.store.WriteNote(noteOf(alts), data)
		}
		if err != nil {
			return &storeError{err}
		}
		return nil
	})
	switch {
	case rep.err != nil || err != nil:
		rep.state = wanted
	case rep.file == "":
		rep.state = skipped
	}
	return err
}

// find asks one index after the other for the files of alts, until one has what
// accept, which may be nil, finds nothing lacking in.
func (p *pip) find(ctx context.Context, alts []*item, accept func([]*item, []listing) string) ([]indexFile, []listing, error) {
	places, err := p.places(alts)
	if err != nil {
		return nil, nil, err
	}
	asked := &askedError{}
	lacking := ""
	for _, at := range places {
		listed, err := p.page(ctx, at, func(f indexFile) bool {
			return ecosystem.IsPipFileOf(f.name, alts[0].Name, alts[0].Version)
		})
		t, ok := errors.AsType[*transferError](err)
		if err != nil && (!ok || ctx.Err() != nil) {
			return nil, nil, err
		}
		if err != nil {
			if asked.answers = append(asked.answers, t); t.notFound() || at.onAny {
				continue
			}
			break
		}
		matched, err := p.match(ctx, at, alts, listed)
		if err != nil {
			return nil, nil, err
		}
		known := listings(alts, matched)
		switch {
		case len(known) == 0 && len(listed) == 0:
			lacking = "no file of this version"
		case len(known) == 0:
			lacking = "none of the files of this version has a checksum that the lockfile accepts"
		case accept == nil:
			return matched, known, nil
		default:
			if lacking = accept(alts, known); lacking == "" {
				p.noteYanked(alts, known)
				return matched, known, nil
			}
			lacking += ", with a checksum that the lockfile accepts"
		}
		lacking += " (at " + redacted(at.page) + ")"
	}
	if lacking != "" {
		return nil, nil, &absentError{lacking}
	}
	return nil, nil, asked
}

// absentError says what an index does not have.
type absentError struct{ text string }

func (e *absentError) Error() string { return e.text }

// match gives each file that the index lists without a checksum to compare the
// one that it has: only its bytes tell.
func (p *pip) match(ctx context.Context, at place, alts []*item, listed []indexFile) ([]indexFile, error) {
	var out, blind []indexFile
	var names []ecosystem.PipFile
	for _, f := range listed {
		matches, known := false, false
		for _, it := range alts {
			same, knows := f.has(it.Sum)
			matches, known = matches || same, known || knows
		}
		switch {
		case matches:
			out = append(out, f)
		case !known:
			blind = append(blind, f)
			names = append(names, ecosystem.PipFile{Name: f.name, Yanked: f.yanked})
		}
	}
	take, _ := p.wantsOf(alts).Choose(alts[0].Name, names)
	if alts[0].Need != cache.Alternative {
		take = nil
		for i := range blind {
			take = append(take, i)
		}
	}
	for _, i := range take {
		sum, err := p.measure(ctx, at, alts, blind[i])
		if err != nil {
			return nil, err
		}
		if !sum.IsZero() {
			blind[i].hashes = map[string]string{string(sum.Algorithm()): sum.Hex()}
			out = append(out, blind[i])
		}
	}
	return out, nil
}

// measure downloads a file to find out which of the alternatives it is. One that
// is, is in the store then.
func (p *pip) measure(ctx context.Context, at place, alts []*item, f indexFile) (cache.Sum, error) {
	d, err := p.run.store.Create()
	if err != nil {
		return cache.Sum{}, &storeError{err}
	}
	defer d.Close()
	if err := p.get(ctx, alts[0], f, at.auth, d); err != nil {
		return cache.Sum{}, err
	}
	for _, it := range alts {
		if it.Sum.Check(d, d.Size()) == nil {
			return it.Sum, p.run.commit(ctx, d, it, redacted(f.url))
		}
	}
	return cache.Sum{}, nil
}

// listings are the alternatives that the index has files of.
func listings(alts []*item, files []indexFile) []listing {
	var out []listing
	for _, it := range alts {
		for _, f := range files {
			if same, _ := f.has(it.Sum); same {
				out = append(out, listing{it.Sum.String(), f.name, f.yanked})
				break
			}
		}
	}
	return out
}

func (p *pip) noteYanked(alts []*item, known []listing) {
	for _, it := range alts {
		for _, l := range known {
			if it.file == l.File && l.Yanked {
				p.run.note(it, l.File+": withdrawn by its publisher")
			}
		}
	}
}

// download gets the file of it, which is among listed.
func (p *pip) download(ctx context.Context, it *item, listed []indexFile) error {
	if blob, ok := p.run.store.Lookup(it.Sum); ok && it.err == nil {
		it.blob = blob
		return nil
	}
	for _, f := range listed {
		if same, _ := f.has(it.Sum); !same {
			continue
		}
		d, err := p.run.store.Create()
		if err != nil {
			return &storeError{err}
		}
		defer d.Close()
		if err := p.get(ctx, it, f, p.fileAuth(it), d); err != nil {
			return err
		}
		if f.size > 0 && d.Size() != f.size {
			return &contentError{fmt.Errorf("%d bytes, want %d", d.Size(), f.size), redacted(f.url)}
		}
		return p.run.commit(ctx, d, it, redacted(f.url))
	}
	return &absentError{"the index does not have it any more"}
}

// get downloads a file that an index lists.
func (p *pip) get(ctx context.Context, it *item, f indexFile, auth credentials, d *cache.Draft) error {
	client, err := p.run.client()
	if err != nil {
		return err
	}
	t := transfer{url: f.url, limit: maxFile, auth: auth, progress: func(done, total int64) { p.run.progress.Advance(it.Input, done, total) }}
	if f.size > 0 {
		t.limit = f.size
	}
	err = client.get(ctx, t, d)
	if t, ok := errors.AsType[*transferError](err); ok {
		return &askedError{answers: []error{t}}
	}
	return err
}

// places are the pages to ask for alts, in order: the mirror's, or that of the
// index which the lockfile names, or those of pip's settings.
func (p *pip) places(alts []*item) ([]place, error) {
	list := proxyList{{kind: entryDirect}}
	if mirror, ok := p.run.opts.Mirrors["pip"]; ok {
		var err error
		if list, err = parseGOPROXY(mirror); err != nil {
			return nil, &configError{"mirror for pip: " + err.Error()}
		}
	}
	var out []place
	for _, entry := range list {
		switch entry.kind {
		case entryURL:
			out = append(out, p.placeAt(entry, alts[0].Name))
		case entryOff:
			return nil, &configError{"mirror for pip: off: want the URL of an index, or direct"}
		default:
			own, err := p.ownPlaces(alts)
			if err != nil {
				return nil, err
			}
			out = append(out, own...)
		}
	}
	return out, nil
}

// placeAt is the page of a package in an index, whose URL may have credentials.
func (p *pip) placeAt(index proxy, name string) place {
	page := joinURL(index.base, name+"/")
	return place{page: page, onAny: index.onAny, auth: p.hostAuth(index.base)}
}

// hostAuth are the credentials of an index for what is on its server, else
// those of .netrc.
func (p *pip) hostAuth(index *url.URL) credentials {
	return func(u *url.URL) (header, value string) {
		if index.User != nil && u.Scheme == index.Scheme && u.Host == index.Host {
			password, _ := index.User.Password()
			return basic(index.User.Username(), password)
		}
		return p.run.logins().credentials(u)
	}
}

// ownPlaces are the pages without a mirror.
func (p *pip) ownPlaces(alts []*item) ([]place, error) {
	for _, it := range alts {
		if it.Need != cache.Alternative || it.URL == "" {
			continue
		}
		page, err := url.Parse(it.URL)
		if err != nil {
			return nil, &transferError{url: "the lockfile", text: "names no index that can be asked"}
		}
		auth, err := p.files.credentials(it.Input, page, page)
		return []place{{page: page, auth: auth}}, err
	}
	list, err := p.conf().indexes()
	if err != nil {
		return nil, err
	}
	var out []place
	for _, index := range list {
		out = append(out, p.placeAt(index, alts[0].Name))
	}
	return out, nil
}

// fileAuth are the credentials for the files of an input: those of the index
// that listed them, on its server.
func (p *pip) fileAuth(it *item) credentials {
	places, err := p.places([]*item{it})
	if err != nil {
		return nil
	}
	return func(u *url.URL) (header, value string) {
		for _, at := range places {
			if at.page.Scheme != u.Scheme || at.page.Host != u.Host {
				continue
			}
			if header, value = at.auth(u); header != "" {
				return header, value
			}
		}
		return p.run.logins().credentials(u)
	}
}
