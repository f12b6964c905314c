package e2e

import (
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/preflight"
)

// TestRules builds, for each rule, one project that breaks it and one that does
// not. testdata/rules/<Rule>.txtar has the files of the first below bad/, of the
// second below good/, and in "want" what the rule says of the first, with the
// lines of the Dockerfile that are drawn. An error must stop the build before
// its first RUN; a warning must be in the output and in the metadata of the
// result. The second must end well, and not a word of the rule.
//
// The comment of an archive tells what is broken and holds settings, "key:
// value" a line; with bad- or good- before the key for one of the two:
//
//	args: FLAG…     of the build
//	deps: DIR       the deps context is what "hermetic prefetch" makes of the files below DIR/
//	deps: tree      it is the least directory that Hermeto makes
//	deps: tree DIR  it is the directory with the files below DIR/
//	prefetch: FLAG… of the prefetch
//	damage: yes     a bit of the cache is flipped
//	bake: TARGET    the build is one of docker-bake.hcl
//	convert: A B    where the builder looks for the image A of any registry, B is what it finds
//	graph: yes      the client brings along a graph, as the context "base", that nobody can look into
//	none: REASON    no Dockerfile breaks the rule: why
//
// policy.yaml is that of the frontend's image. In all files {busybox} and the
// other words of project are replaced, and {requires} and {sums} by a go.mod and
// a go.sum, {url} and {sum} by the address of a file server and the sum of its
// /tool.sh, {index} and {wheels} by the address of an index of Python packages and
// the sums of its package "native" for two platforms, {image} by an image of another repository, {past}, {soon} and {later}
// by dates.
func TestRules(t *testing.T) {
	lot := newRuleLot(t)
	for _, r := range preflight.Rules {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			c := lot.open(t, r)
			if c.settings["none"] == "" {
				c.golden(t, c.breaks(t, nil))
			}
			c.keeps(t)
		})
	}
	names, err := filepath.Glob("testdata/rules/*.txtar")
	if err != nil || len(names) != len(preflight.Rules) {
		t.Errorf("%d archives of %d rules: %v", len(names), len(preflight.Rules), err)
	}
}

// TestRulesUnderStrict builds the same broken projects with "strict: true": the
// rules that are warnings and do not stay warnings stop the build.
func TestRulesUnderStrict(t *testing.T) {
	lot := newRuleLot(t)
	for _, r := range preflight.Rules {
		if r.Severity == r.Strict {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			c := lot.open(t, r)
			if c.settings["none"] != "" {
				return
			}
			c.strict = true
			contains(t, "the error", c.breaks(t, []byte("strict: true\n")), "\n"+r.Name+": ")
		})
	}
}

// TestRulesExcepted builds the same broken projects with an exception from the
// rule, or from all of them: it lets findings pass, and they are told; where none
// can be granted, the build fails and says so.
func TestRulesExcepted(t *testing.T) {
	lot := newRuleLot(t)
	for _, r := range preflight.Rules {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			c := lot.open(t, r)
			if _, has := c.files["bad/hermetic.yaml"]; c.settings["none"] != "" || has {
				return // the file is what is tested
			}
			value := r.Name
			if r == preflight.RunNetwork {
				value += ":RUN --network=host true"
			}
			c.excepted(t, "exceptions:\n- value: "+value+"\n  reason: a test\n  approvedBy: Ada\n  effectiveUntil: "+later()+"\n")
		})
	}
}

// ruleLot is what the cases of TestRules share.
type ruleLot struct {
	words *strings.Replacer // in files
	back  []string          // pairs of what goldens have in place of what differs from run to run
	env   []string          // of a prefetch
}

func later() string { return time.Now().AddDate(0, 6, 0).Format(time.DateOnly) }

func newRuleLot(t *testing.T) *ruleLot {
	t.Helper()
	m := newMirror(t)
	m.addNoise(t, full("m1"))
	url := newFileServer(t)
	base, err := world.Base("busybox")
	if err != nil {
		t.Fatal(err)
	}
	image, err := world.PushImage(t.Context(), "base/busybox", base)
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	day := func(days int) string { return time.Now().AddDate(0, 0, days).Format(time.DateOnly) }
	tool := genericFiles["/tool.sh"]
	wheels := map[string][]byte{
		"native-1.0-cp312-cp312-manylinux2014_x86_64.whl": []byte("for amd64\n"), "native-1.0-cp312-cp312-manylinux2014_aarch64.whl": []byte("for arm64\n"),
	}
	var hashes []string
	for _, name := range slices.Sorted(maps.Keys(wheels)) {
		hashes = append(hashes, "--hash="+cache.SumBytes(wheels[name]).String())
	}
	sum := cache.SumBytes(tool).String()
	return &ruleLot{
		words: strings.NewReplacer("{requires}\n", require(full("m1")), "{sums}\n", m.goSum(full("m1")), "{url}", url, "{sum}", sum,
			"{md5}", fmt.Sprintf("%x", md5.Sum(tool)),
			"{index}", newPipIndex(t, wheels), "{wheels}", strings.Join(hashes, " "),
			"{image}", image, "{secret}", secret, "{past}", day(-10), "{soon}", day(10), "{later}", later()),
		back: []string{images.busybox, "{busybox}", image, "{image}", url, "{url}", sum, "{sum}", world.RegistryHost(), "{registry}"},
		env:  append(m.env(), "GENERIC_TOKEN=s3cret"),
	}
}

// ruleCase is the archive of one rule.
type ruleCase struct {
	*ruleLot
	rule     *preflight.Rule
	name     string
	archive  *txtar.Archive
	settings map[string]string
	files    map[string][]byte
	frontend string
	strict   bool
}

// open reads the archive of a rule.
func (l *ruleLot) open(t *testing.T, r *preflight.Rule) *ruleCase {
	t.Helper()
	c := &ruleCase{
		ruleLot: l, rule: r, name: filepath.Join("testdata/rules", r.Name+".txtar"),
		settings: map[string]string{}, files: map[string][]byte{}, frontend: images.frontend,
	}
	data, err := os.ReadFile(c.name)
	if err != nil {
		t.Fatal(err)
	}
	c.archive = txtar.Parse(data)
	for line := range strings.Lines(string(c.archive.Comment)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && !strings.Contains(key, " ") {
			c.settings[key] = words().Replace(l.words.Replace(value))
		}
	}
	for _, f := range c.archive.Files {
		c.files[f.Name] = []byte(l.words.Replace(string(f.Data)))
	}
	if policy, ok := c.files["policy.yaml"]; ok {
		c.frontend = frontendWith(t, words().Replace(string(policy)))
	}
	return c
}

// frontendWith makes a copy of the frontend's image that has a policy, by the
// Dockerfile of docs/policy.md, and returns its reference.
func frontendWith(t *testing.T, policy string) string {
	t.Helper()
	doc := read(t, world.Repo(), "docs", "policy.md")
	_, dockerfile, _ := strings.Cut(doc, "```dockerfile\n")
	dockerfile, _, ok := strings.Cut(dockerfile, "```")
	dockerfile = strings.ReplaceAll(dockerfile, "example.com/hermetic:1", images.frontend)
	if !ok || !strings.Contains(dockerfile, images.frontend) {
		t.Fatalf("docs/policy.md: no Dockerfile of a frontend with a policy: %s", dockerfile)
	}
	dir := project(t, "-- Dockerfile --\n"+dockerfile+"-- policy.yaml --\n"+policy)
	sum := cache.SumBytes([]byte(policy)).Hex()[:12]
	ref := world.RegistryHost() + "/policy:" + sum
	file := filepath.Join(t.TempDir(), "metadata.json")
	stock(t, dir, "--provenance=false", "--output=type=image,push=true,name="+ref, "--metadata-file="+file).passed(t)
	var made struct {
		Digest string `json:"containerimage.digest"`
	}
	decode(t, []byte(read(t, file)), &made)
	return ref + "@" + made.Digest
}

// setting is a setting of "bad" or "good".
func (c *ruleCase) setting(side, key string) string {
	if v, ok := c.settings[side+"-"+key]; ok {
		return v
	}
	return c.settings[key]
}

// below writes the files below a directory of the archive to a new one. A file
// called .empty stands for the directory that it is in.
func (c *ruleCase) below(t *testing.T, side string) string {
	t.Helper()
	part := &txtar.Archive{}
	var empty []string
	for _, f := range c.archive.Files {
		name, ok := strings.CutPrefix(f.Name, side+"/")
		if dir, isEmpty := strings.CutSuffix(name, "/.empty"); ok && isEmpty {
			empty = append(empty, dir)
		} else if ok {
			part.Files = append(part.Files, txtar.File{Name: name, Data: c.files[f.Name]})
		}
	}
	dir := project(t, string(txtar.Format(part)))
	for _, name := range empty {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// args are the flags of a build, the deps context among them.
func (c *ruleCase) args(t *testing.T, side string) []string {
	t.Helper()
	args := append([]string{"--build-arg=BUILDKIT_SYNTAX=" + c.frontend}, strings.Fields(c.setting(side, "args"))...)
	switch from := c.setting(side, "deps"); from {
	case "":
		return args
	case "tree":
		return append(args, with(hermetoTree(t)))
	default:
		if tree, ok := strings.CutPrefix(from, "tree "); ok {
			return append(args, with(c.below(t, tree)))
		}
		flags := append([]string{"--store=" + t.TempDir()}, strings.Fields(c.setting(side, "prefetch"))...)
		deps := copyDir(t, prefetch(t, c.env, append(flags, c.below(t, from))...))
		if c.setting(side, "damage") != "" {
			damage(t, deps)
		}
		return append(args, with(deps))
	}
}

// damage flips a bit of the largest file of a deps context.
func damage(t *testing.T, deps string) {
	t.Helper()
	largest, size := "", int64(0)
	err := filepath.WalkDir(deps, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			largest, size = name, info.Size()
		}
		return err
	})
	if err != nil || largest == "" {
		t.Fatalf("%s: nothing to damage: %v", deps, err)
	}
	flip(t, largest, size/2)
}

// build is "buildx build", with a builder that finds what the archive says.
func (c *ruleCase) build(t *testing.T, dir string, args ...string) result {
	t.Helper()
	cmd := world.Buildx(t.Context(), append(append([]string{"build", "--progress=plain"}, args...), dir)...)
	cmd.Args = slices.Insert(cmd.Args, 1, "--debug") // draws the lines of warnings
	if from, to, ok := strings.Cut(c.settings["convert"], " "); ok {
		file := filepath.Join(t.TempDir(), "sources.json")
		text := fmt.Sprintf(`{"rules": [{"action": "CONVERT", "selector": {"identifier": "docker-image://*/%s:*"}, "updates": {"identifier": "docker-image://%s"}}]}`, from, to)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY="+file)
	}
	return output(cmd)
}

// breaks builds the broken project and returns what the rule says of it, with
// the lines that are drawn. extra is its hermetic.yaml, nil for that of the
// archive.
func (c *ruleCase) breaks(t *testing.T, extra []byte) string {
	t.Helper()
	dir := c.below(t, "bad")
	if extra != nil {
		if err := os.WriteFile(filepath.Join(dir, "hermetic.yaml"), append(extra, c.files["bad/hermetic.yaml"]...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	severity := c.rule.Severity
	if c.strict {
		severity = c.rule.Strict
	}
	switch {
	case severity == preflight.Error:
		return c.stops(t, dir)
	case c.settings["bake"] != "":
		b := c.bake(t, dir)
		b.passed(t)
		return c.warns(t, b)
	}
	file := filepath.Join(t.TempDir(), "metadata.json")
	r := c.build(t, dir, append(c.args(t, "bad"), "--metadata-file="+file)...)
	r.passed(t)
	var metadata map[string]json.RawMessage
	decode(t, []byte(read(t, file)), &metadata)
	return c.warns(t, built{r, c.told(t, metadata)})
}

// built is a build that ended well, with what its metadata says of the rule.
type built struct {
	result
	told []string
}

// stops is what the rule says of a build that it stops.
func (c *ruleCase) stops(t *testing.T, dir string) string {
	t.Helper()
	var text string
	var log string
	switch {
	case c.settings["graph"] != "":
		_, _, err := ask(t, dir, c.graph(t))
		if err == nil {
			t.Fatal("ended well; want an error")
		}
		text = strings.TrimPrefix(oneWord(err.Error()), "failed to solve: ")
	case c.settings["bake"] != "":
		r := c.bake(t, dir).result
		_, text, _ = strings.Cut(r.failed(t), "failed to solve: ") // after the target's name
		log = r.log
	default:
		found, r := steps(t, dir, c.args(t, "bad")...)
		if names := ran(found); len(names) > 0 {
			t.Errorf("steps ran: %q", names)
		}
		text, log = r.failed(t), r.log
	}
	out := "\n" + sectionOf(text, c.rule)
	for _, m := range drawn.FindAllStringSubmatch(log, -1) {
		out += m[1] + ": " + m[2] + "\n"
	}
	return out
}

// sectionOf is what an error says of one rule.
func sectionOf(text string, r *preflight.Rule) string {
	_, section, ok := strings.Cut("\n"+text, "\n"+r.Name+": ")
	if !ok {
		return "nothing in: " + text + "\n"
	}
	section, _, _ = strings.Cut(section, "\nsee ")
	return r.Name + ": " + section + "\n"
}

// warns is what the rule says in the output of a build that it does not stop:
// the same as in the metadata.
func (c *ruleCase) warns(t *testing.T, b built) string {
	t.Helper()
	shown := c.shown(t, b.result)
	var plain []string
	for line := range strings.Lines(shown) {
		if !regexp.MustCompile(`^\d+: `).MatchString(line) {
			plain = append(plain, "warning "+line)
		}
	}
	if diff := cmp.Diff(plain, b.told); diff != "" {
		t.Errorf("the output and the metadata differ: -output +metadata\n%s", diff)
	}
	return shown
}

// shown is what the rule says in the output of buildx.
func (c *ruleCase) shown(t *testing.T, r result) string {
	t.Helper()
	var out strings.Builder
	mine := false
	for line := range strings.Lines(strings.ReplaceAll(r.log, "\x1b[0m", "")) {
		if text, ok := strings.CutPrefix(line, " - "); ok {
			if mine = strings.HasPrefix(text, c.rule.Name+": "); mine {
				out.WriteString(text)
			}
		} else if m := drawn.FindStringSubmatch(line); mine && m != nil {
			out.WriteString(m[1] + ": " + m[2] + "\n")
		}
	}
	if out.Len() == 0 {
		t.Errorf("no warning in the output\n%s", r.log)
	}
	return out.String()
}

// told is what the metadata of a result says of the rule.
func (c *ruleCase) told(t *testing.T, metadata map[string]json.RawMessage) []string {
	t.Helper()
	var text string
	var findings []struct {
		Rule, Severity, File, Subject, Cause string
		Line                                 int
	}
	decode(t, metadata["frontend.hermetic.findings"], &text)
	decode(t, []byte(text), &findings)
	var out []string
	for _, f := range findings {
		if f.Rule == c.rule.Name {
			p := cache.Problem{Origin: cache.Origin{File: f.File, Line: f.Line}, Subject: f.Subject, Cause: f.Cause}
			out = append(out, fmt.Sprintf("%s %s: %s\n", f.Severity, f.Rule, p))
		}
	}
	return out
}

// bake builds a target of docker-bake.hcl.
func (c *ruleCase) bake(t *testing.T, dir string) built {
	t.Helper()
	file := filepath.Join(t.TempDir(), "metadata.json")
	target := c.settings["bake"]
	cmd := world.Buildx(t.Context(), "bake", "--progress=plain", "--allow=fs=*", "--metadata-file="+file, target)
	cmd.Dir = dir
	cmd.Args = slices.Insert(cmd.Args, 1, "--debug")
	r := output(cmd)
	var metadata map[string]json.RawMessage
	if data, err := os.ReadFile(file); err == nil {
		decode(t, data, &metadata)
		var of map[string]json.RawMessage
		decode(t, metadata[target], &of)
		return built{r, c.told(t, of)}
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return built{r, nil}
}

// graph is a solve whose client brings along what nobody can look into.
func (c *ruleCase) graph(t *testing.T) gateway.SolveRequest {
	t.Helper()
	op := pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{Builder: int64(pb.LLBBuilder)}}}
	data, err := op.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	last := pb.Op{Inputs: []*pb.Input{{Digest: string(digest.FromBytes(data))}}}
	end, err := last.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	def := &pb.Definition{Def: [][]byte{data, end}, Metadata: map[string]*pb.OpMetadata{}}
	for _, op := range def.Def {
		def.Metadata[string(digest.FromBytes(op))] = &pb.OpMetadata{}
	}
	req := request(map[string]string{"context:base": "input:base", "frontend.caps": "moby.buildkit.frontend.inputs"})
	req.FrontendInputs = map[string]*pb.Definition{"base": def}
	return req
}

// keeps builds the project that does not break the rule.
func (c *ruleCase) keeps(t *testing.T) {
	t.Helper()
	dir := c.below(t, "good")
	if c.settings["bake"] != "" {
		b := c.bake(t, dir)
		b.passed(t)
		c.silent(t, b)
		return
	}
	file := filepath.Join(t.TempDir(), "metadata.json")
	r := stock(t, dir, append(c.args(t, "good"), "--metadata-file="+file)...).passed(t)
	var metadata map[string]json.RawMessage
	decode(t, []byte(read(t, file)), &metadata)
	c.silent(t, built{r, c.told(t, metadata)})
}

// silent wants no word of the rule.
func (c *ruleCase) silent(t *testing.T, b built) {
	t.Helper()
	if strings.Contains(b.log, c.rule.Name+": ") || len(b.told) > 0 {
		t.Errorf("a false alarm: %q\n%s", b.told, b.log)
	}
}

// excepted builds the broken project with an exception.
func (c *ruleCase) excepted(t *testing.T, text string) {
	t.Helper()
	dir := c.below(t, "bad")
	if err := os.WriteFile(filepath.Join(dir, "hermetic.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if c.settings["graph"] != "" || c.settings["bake"] != "" {
		return // what stops these is told without a Dockerfile's help
	}
	file := filepath.Join(t.TempDir(), "metadata.json")
	r := c.build(t, dir, append(c.args(t, "bad"), "--metadata-file="+file)...)
	if !c.rule.Exceptable && c.files["policy.yaml"] != nil {
		r.failed(t) // which of the two errors comes first is not said
		return
	}
	if !c.rule.Exceptable {
		contains(t, "the error", r.failed(t), "hermetic.yaml:2: "+c.rule.Name+": no exception can be granted from this rule")
		return
	}
	if r.err != nil {
		if strings.Contains(r.failed(t), c.rule.Name+": ") {
			t.Errorf("stopped all the same\n%s", r.log)
		}
		t.Logf("ends with %s", firstLine(r.failed(t))) // what the rule warned of
		return
	}
	var metadata map[string]json.RawMessage
	decode(t, []byte(read(t, file)), &metadata)
	told := c.told(t, metadata)
	for _, line := range told {
		if !strings.HasPrefix(line, "excepted ") {
			t.Errorf("not excepted: %s", line)
		}
	}
	if len(told) == 0 && c.rule != preflight.RunNetwork {
		t.Errorf("nobody is told\n%s", r.log)
	}
}

// TestExceptedIsShown: what an exception lets pass is in the output, with the
// reason.
func TestExceptedIsShown(t *testing.T) {
	dir := project(t, `
-- Dockerfile --
FROM {registry}/busybox:latest
RUN true
-- hermetic.yaml --
exceptions: [{value: UnpinnedImage, reason: it is to be pinned, approvedBy: Ada, effectiveUntil: `+later()+`}]
`)
	build(t, dir).passed(t).says(t, "UnpinnedImage: Dockerfile:1: ", "excepted: by Ada until "+later()+": it is to be pinned")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

var (
	drawn = regexp.MustCompile(`(?m)^ +(\d+) \| >>> (.*)$`)
	times = regexp.MustCompile(`\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ)?`)
	sums  = regexp.MustCompile(`sha256:[0-9a-f]{64}`)
	spans = regexp.MustCompile(`\d+ (days|hours|minutes)`)
)

// golden compares what a rule says with the archive's "want".
func (c *ruleCase) golden(t *testing.T, got string) {
	t.Helper()
	got = strings.TrimPrefix(strings.NewReplacer(c.back...).Replace(got), "\n")
	got = sums.ReplaceAllString(got, "{sha256}")
	got = spans.ReplaceAllString(times.ReplaceAllString(got, "{time}"), "{span}")
	i := slices.IndexFunc(c.archive.Files, func(f txtar.File) bool { return f.Name == "want" })
	if *update {
		if i < 0 {
			i = len(c.archive.Files)
			c.archive.Files = append(c.archive.Files, txtar.File{Name: "want"})
		}
		c.archive.Files[i].Data = []byte(got)
		if err := os.WriteFile(c.name, txtar.Format(c.archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := ""
	if i >= 0 {
		want = string(c.archive.Files[i].Data)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
