package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"

	"golang.org/x/net/html"

	"github.com/hermetic-build/hermetic/cache"
)

const (
	// maxIndexPage bounds what an index says of one package.
	maxIndexPage = 256 << 20
	// maxIndexFiles bounds the files of one version.
	maxIndexFiles = 10_000
	// indexTypes are the forms of an index that are understood, the best first.
	indexTypes = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
)

// An indexFile is a file as an index lists it.
type indexFile struct {
	name   string
	url    *url.URL
	hashes map[string]string // by algorithm, in hex
	size   int64             // 0 where it is not told
	yanked bool
}

// has tells whether the index says that the file has sum; known is false where
// it says nothing of the algorithm.
func (f indexFile) has(sum cache.Sum) (same, known bool) {
	value, known := f.hashes[string(sum.Algorithm())]
	return known && strings.EqualFold(value, sum.Hex()), known
}

// An indexPage gathers the files that keep is true for.
type indexPage struct {
	base  *url.URL // what links are relative to
	keep  func(indexFile) bool
	files []indexFile
}

// readIndex reads the page of a package from an index: the simple API
// (https://packaging.python.org/en/latest/specifications/simple-repository-api/)
// in either form.
func readIndex(r io.Reader, base *url.URL, keep func(indexFile) bool) ([]indexFile, error) {
	p := &indexPage{base: base, keep: keep}
	head := make([]byte, 512)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, err
	}
	r = io.MultiReader(strings.NewReader(string(head[:n])), r)
	if strings.HasPrefix(strings.TrimLeft(string(head[:n]), " \t\r\n"), "{") {
		err = p.readJSON(r)
	} else {
		err = p.readHTML(r)
	}
	return p.files, err
}

// errIndex is a page that is none of an index.
var errIndex = errors.New("not the page of a Python package index")

// readJSON reads the JSON form as it comes, keeping what is wanted.
func (p *indexPage) readJSON(r io.Reader) error {
	dec := json.NewDecoder(r)
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errIndex
	}
	listed := false
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return errIndex
		}
		switch key {
		case "meta":
			var meta struct {
				Version string `json:"api-version"`
			}
			if dec.Decode(&meta) != nil {
				return errIndex
			}
			if v, _, _ := strings.Cut(meta.Version, "."); v != "1" {
				return fmt.Errorf("version %.20q of the index API: want 1", meta.Version)
			}
		case "files":
			listed = true
			if err := p.readFiles(dec); err != nil {
				return err
			}
		default:
			if dec.Decode(new(json.RawMessage)) != nil {
				return errIndex
			}
		}
	}
	if _, err := dec.Token(); err != nil || !listed {
		return errIndex
	}
	return nil
}

func (p *indexPage) readFiles(dec *json.Decoder) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return errIndex
	}
	for dec.More() {
		var f struct {
			Filename string            `json:"filename"`
			URL      string            `json:"url"`
			Hashes   map[string]string `json:"hashes"`
			Size     int64             `json:"size"`
			Yanked   any               `json:"yanked"`
		}
		if dec.Decode(&f) != nil {
			return errIndex
		}
		yanked := f.Yanked != nil && f.Yanked != false
		if err := p.add(indexFile{name: f.Filename, hashes: f.Hashes, size: max(0, f.Size), yanked: yanked}, f.URL); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// add keeps a file that is wanted.
func (p *indexPage) add(f indexFile, link string) error {
	u, err := p.base.Parse(link)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "file" || u.Scheme == "file" && p.base.Scheme != "file" {
		return nil // nothing that can be asked
	}
	if algorithm, value, ok := strings.Cut(u.Fragment, "="); ok && f.hashes == nil {
		f.hashes = map[string]string{algorithm: value}
	}
	u.Fragment, u.RawFragment = "", ""
	if f.name == "" {
		f.name = path.Base(u.Path)
	}
	if f.url = u; !p.keep(f) {
		return nil
	}
	if p.files = append(p.files, f); len(p.files) > maxIndexFiles {
		return fmt.Errorf("more than %d files of one version", maxIndexFiles)
	}
	return nil
}

// readHTML reads the HTML form: a link for each file.
func (p *indexPage) readHTML(r io.Reader) error {
	z := html.NewTokenizer(r)
	z.SetMaxBuf(1 << 20)
	tags := 0
	for {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() == io.EOF && tags > 0 {
				return nil
			}
			return errIndex
		case html.StartTagToken, html.SelfClosingTagToken:
			tags++
			t := z.Token()
			href, has := attribute(t, "href")
			switch {
			case t.Data == "base" && has:
				if u, err := p.base.Parse(href); err == nil && u.Scheme == p.base.Scheme {
					p.base = u
				}
			case t.Data == "a" && has:
				_, yanked := attribute(t, "data-yanked")
				if err := p.add(indexFile{yanked: yanked}, href); err != nil {
					return err
				}
			}
		}
	}
}

func attribute(t html.Token, key string) (string, bool) {
	i := slices.IndexFunc(t.Attr, func(a html.Attribute) bool { return a.Key == key })
	if i < 0 {
		return "", false
	}
	return t.Attr[i].Val, true
}

// A place is where a package may be: the page of an index.
type place struct {
	page  *url.URL
	auth  credentials
	onAny bool // the next place is asked after any error
}

// page are the files at a place that keep is true for.
func (p *pip) page(ctx context.Context, at place, keep func(indexFile) bool) ([]indexFile, error) {
	client, err := p.run.client()
	if err != nil {
		return nil, err
	}
	d, err := p.run.store.Create() // pages can be large
	if err != nil {
		return nil, &storeError{err}
	}
	defer d.Close()
	t := transfer{url: at.page, limit: maxIndexPage, auth: at.auth, accept: indexTypes, progress: func(int64, int64) {}}
	base := *at.page
	base.User = nil
	t.landed = func(u *url.URL) { base = *u }
	if at.page.Scheme == "file" {
		t.url = joinURL(at.page, "index.html")
	}
	if err := client.get(ctx, t, d); err != nil {
		return nil, err
	}
	files, err := readIndex(io.NewSectionReader(d, 0, d.Size()), &base, keep)
	if err != nil {
		return nil, &transferError{url: redacted(at.page), text: err.Error()}
	}
	return files, nil
}
