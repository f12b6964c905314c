package cache

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// A ProjectFile is a file of the build context that has to be another one for
// a sealed build: Hermeto's "project_files". Of the Template ${output_dir} (or
// $output_dir) is the directory that the inputs are in, $$ a dollar sign; all
// else stays as it is.
type ProjectFile struct {
	Path     string // slash-separated, relative to the build context; absolute in a ".build-config.json"
	Template string
	// Foreign means that only builds that are not ours need the file: RUN steps of
	// ours have Sections that do the same.
	Foreign bool
}

// An Overlay is a directory of an output directory that lies in the build
// context in a sealed build, such as a submodule that is not checked out.
type Overlay struct {
	From string // slash-separated, relative to the output directory: "deps/git-submodule/lib"
	Path string // slash-separated, relative to the build context
}

// maxProjectFiles bounds how many project files an output directory may have.
const maxProjectFiles = 10_000

// maxSource bounds what is read of a file that a project file may replace.
const maxSource = 64 << 20

// Render is the content of f where the inputs are in outputDir.
func (f ProjectFile) Render(outputDir string) []byte {
	// Only what names are replaced by counts towards the bound; the template
	// itself, however often it names the directory, is bounded by its reader.
	e := expander{values: map[string]string{"output_dir": outputDir}, left: maxSource, open: map[string]bool{}}
	return []byte(e.resolve(EnvVar{Value: f.Template}))
}

// renderedFor tells whether text is f rendered, and for which directory; it is
// "" where the template names none.
func (f ProjectFile) renderedFor(text []byte) (outputDir string, ok bool) {
	const mark = "\x00"
	parts := bytes.Split(f.Render(mark), []byte(mark))
	rest := len(text)
	for _, p := range parts {
		rest -= len(p)
	}
	n := len(parts) - 1
	if n == 0 {
		return "", bytes.Equal(text, parts[0])
	}
	if rest < 0 || rest%n != 0 || !bytes.HasPrefix(text, parts[0]) {
		return "", false
	}
	dir := text[len(parts[0]) : len(parts[0])+rest/n]
	if !path.IsAbs(string(dir)) || bytes.ContainsAny(dir, "\x00\n") {
		return "", false
	}
	return string(dir), bytes.Equal(bytes.Join(parts, dir), text)
}

// Locate finds the places in a build context of project files whose paths are
// those of the machine that fetched. One directory of that machine is the build
// context, or is where it was: the one below which most of the files are those
// of the context; else that below which the context has most of them by name;
// else by directory. Among equals the longest paths win. What has no place is in
// rest.
func Locate(fsys fs.FS, files []ProjectFile) (placed, rest []ProjectFile) {
	scores := map[string][3]int{}
	for _, f := range files {
		f.score(fsys, scores)
	}
	var best [3]int
	root := ""
	for _, at := range slices.SortedFunc(maps.Keys(scores), compareLengths) {
		if score := scores[at]; slices.Compare(score[:], best[:]) > 0 {
			best, root = score, at
		}
	}
	for _, f := range files {
		rel, below := relativeTo(root, f.Path)
		if root == "" || !below || !isPackageDir(fsys, rel) && !isRegular(fsys, rel) {
			rest = append(rest, f)
			continue
		}
		f.Path = rel
		placed = append(placed, f)
	}
	return placed, rest
}

func compareLengths(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// score counts f for each directory above it: whether it fits what the context
// has in its place, whether it is in the context, and whether its directory is.
func (f ProjectFile) score(fsys fs.FS, scores map[string][3]int) {
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path {
		return
	}
	for at := path.Dir(f.Path); ; at = path.Dir(at) {
		rel, _ := relativeTo(at, f.Path)
		score := scores[at]
		if isRegular(fsys, rel) {
			score[1]++
			if data, cause := readSource(fsys, rel); cause == "" && f.fits(data) {
				score[0]++
			}
		}
		if isPackageDir(fsys, rel) {
			score[2]++
		}
		if scores[at] = score; at == "/" {
			return
		}
	}
}

// relativeTo is a path below root, from there.
func relativeTo(root, name string) (string, bool) {
	rel, below := strings.CutPrefix(name, strings.TrimSuffix(root, "/")+"/")
	return rel, below && fs.ValidPath(rel)
}

func isRegular(fsys fs.FS, name string) bool {
	info, err := fs.Lstat(fsys, name)
	return err == nil && info.Mode().IsRegular()
}

// rewritten are the files that package managers need to be others, by the ends
// of their paths: those of Hermeto's backends, and the lockfile of uv.
var rewritten = []string{
	"package.json", "package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", ".npmrc", "*.txt", "*.in", "uv.lock", "pylock.toml", "pylock.*.toml",
	".cargo/config.toml", ".cargo/config", ".bundle/config", "settings.xml",
}

// IsRewritten tells whether a project file is one that a package manager needs to
// be another one. An output directory that nobody vouches for can name any file,
// source code too.
func (f ProjectFile) IsRewritten() bool {
	return slices.ContainsFunc(rewritten, func(pattern string) bool {
		end := f.Path
		for range strings.Count(end, "/") - strings.Count(pattern, "/") {
			_, end, _ = strings.Cut(end, "/")
		}
		match, err := path.Match(pattern, end)
		return match && err == nil
	})
}

// isPackageDir tells whether the package that a file is of is in the context:
// its directory, or the one above where it has a directory for itself, as
// .cargo/config.toml.
func isPackageDir(fsys fs.FS, name string) bool {
	dir := path.Dir(name)
	if base := path.Base(dir); base != "." && strings.HasPrefix(base, ".") {
		dir = path.Dir(dir)
	}
	info, err := fs.Lstat(fsys, dir)
	return err == nil && info.IsDir()
}

// Replace compares project files, whose paths are those in the build context,
// with what the context has: the result is what has to lie over it where the
// inputs are in outputDir. What is there already is left out. Problems are of
// what cannot be replaced.
func Replace(fsys fs.FS, files []ProjectFile, outputDir string) ([]File, []Problem) {
	var out []File
	var problems []Problem
	for _, f := range files {
		problem := func(cause string) {
			problems = append(problems, Problem{Kind: BadLock, Origin: Origin{File: f.Path}, Cause: cause})
		}
		if !isLocal(f.Path) || path.Clean(f.Path) != f.Path {
			problem("to be replaced, and not in the build context")
			continue
		}
		there, cause := inTheWay(fsys, f.Path)
		text := f.Render(outputDir)
		if cause == "" && there {
			var data []byte
			if data, cause = readSource(fsys, f.Path); cause == "" && bytes.Equal(data, text) {
				continue
			}
		}
		if cause != "" {
			problem(cause)
			continue
		}
		out = append(out, File{Path: f.Path, Data: text})
	}
	return out, SortProblems(problems)
}

// Changed finds the files of the context that are certainly not those that
// Hermeto made its templates from.
func Changed(fsys fs.FS, files []ProjectFile) []Problem {
	var problems []Problem
	for _, f := range files {
		if there, _ := inTheWay(fsys, f.Path); !there {
			continue
		}
		if data, cause := readSource(fsys, f.Path); cause == "" && f.isStale(data) {
			problems = append(problems, Problem{Kind: Stale, Origin: Origin{File: f.Path}, Cause: "changed since the output directory was made"})
		}
	}
	return SortProblems(problems)
}

// inTheWay tells whether the context has a file at name, and why none can be
// put there.
func inTheWay(fsys fs.FS, name string) (there bool, cause string) {
	for i, r := range name + "/" {
		if r != '/' {
			continue
		}
		info, err := fs.Lstat(fsys, name[:i])
		switch {
		case err != nil:
			return false, ""
		case i == len(name) && !info.Mode().IsRegular():
			return false, "a sealed build needs another file in its place, and it is none: " + nounOf(info.Mode())
		case i < len(name) && !info.IsDir():
			return false, "a sealed build needs this file, and " + name[:i] + " is " + nounOf(info.Mode())
		}
	}
	return true, ""
}

func nounOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode.IsRegular():
		return "a file"
	}
	return "a special file"
}

func readSource(fsys fs.FS, name string) (data []byte, why string) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	if data, err = io.ReadAll(io.LimitReader(f, maxSource+1)); err != nil {
		return nil, cause(err)
	}
	if len(data) > maxSource {
		return nil, "larger than 64 MB"
	}
	return data, ""
}

// fits tells whether a file of the context is what f was made from, or f itself
// for some directory.
func (f ProjectFile) fits(data []byte) bool {
	if _, ok := f.renderedFor(data); ok {
		return true
	}
	template, text, both := bothJSON([]byte(f.Template), data)
	return both && madeFrom(template, text)
}

// isStale tells whether a file of the context is certainly not what f was made
// from. Only of JSON that can be told: what else package managers write is
// written anew with the template.
func (f ProjectFile) isStale(data []byte) bool {
	if _, ok := f.renderedFor(data); ok {
		return false
	}
	template, text, both := bothJSON([]byte(f.Template), data)
	return both && !madeFrom(template, text)
}

// bothJSON decodes two texts; ok tells that both are objects.
func bothJSON(a, b []byte) (x, y map[string]any, ok bool) {
	return x, y, json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && x != nil && y != nil
}

// madeFrom tells whether a value of a template stands for one of the original:
// it names the directory of inputs, is emptied, or is the same.
func madeFrom(template, original any) bool {
	switch t := template.(type) {
	case map[string]any:
		o, ok := original.(map[string]any)
		if !ok {
			return false
		}
		for key := range o {
			if _, has := t[key]; !has && key != integrityKey {
				return false
			}
		}
		for key, v := range t {
			if was, had := o[key]; !had && !isAdded(key, v) || had && key != shrinkwrapKey && !madeFrom(v, was) {
				return false
			}
		}
		return true
	case []any:
		o, ok := original.([]any)
		return ok && slices.EqualFunc(t, o, madeFrom)
	case string:
		o, ok := original.(string)
		plain := strings.ReplaceAll(t, "$$", "$")
		return ok && (t == o || plain == o || t == "" || strings.Contains(t, "output_dir") || isElsewhere(o))
	}
	return template == original // numbers, booleans and null
}

// isElsewhere tells whether a value is a URL, or short for one, which may have a
// version in its place.
func isElsewhere(s string) bool {
	return strings.Contains(s, "://") || strings.Contains(s, "/") && !strings.Contains(s, "=") // as checksums end
}

// isAdded tells whether a template may have a key that the original lacks: a
// lockfile of npm need not say where a package is.
func isAdded(key string, value any) bool {
	place, _ := value.(string)
	return key == integrityKey || key == resolvedKey && strings.Contains(place, "output_dir")
}

const (
	resolvedKey = "resolved"
	// shrinkwrapKey is what a lockfile of npm says of a package that has a
	// lockfile of its own, which a sealed build does not go by.
	shrinkwrapKey = "hasShrinkwrap"
)

// integrityKey is what a lockfile of npm promises of a tarball: one made anew
// from a repository does not keep it.
const integrityKey = "integrity"
