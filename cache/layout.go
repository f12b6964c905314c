package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Layout is the tree that package managers look at, as Hermeto lays it out:
//
//	deps/<ecosystem>/…   the inputs, each at its Path, and files made up from them
//	.build-config.json   the environment, as templates
//
// Paths are slash-separated and relative to the output directory. Every file
// is 0666 and every directory 0777 with one fixed time, as build steps of any
// user write beside the inputs. Programs that come out of archives are 0777.
type Layout struct {
	Inputs    []Input
	Extra     []File
	Packaging map[string]Packaging // by ecosystem; of inputs that are archives
}

// A File is one that is made up rather than fetched.
type File struct {
	Path string
	Data []byte
}

// Epoch is the time of every file of a layout: 1980, the first year that zip
// files, and tools that make them, can express.
var Epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// A Source opens the bytes of inputs. The error is fs.ErrNotExist for what it
// does not have.
type Source interface {
	Open(in Input) (*Content, error)
}

// Content is the bytes of one input, of Size bytes in all.
type Content struct {
	io.ReaderAt
	io.Closer
	Size int64
	Blob Sum // sha256 that the bytes must have; zero where nobody said
}

// Check is that of a Layout of inputs, without a Packaging.
func Check(src Source, inputs []Input) []Problem { return Layout{Inputs: inputs}.Check(src) }

// Check reads all inputs from src, several at once, and tells which are
// missing or are not what they should be. Optional ones, and those that are
// merely listed where src is a tree made by a package manager, may be missing.
func (l Layout) Check(src Source) []Problem {
	commits := commitChecks{src: src}
	return eachInput(l.Inputs, func(in Input) *Problem {
		if tree, ok := src.(Tree); ok && in.Form != Plain {
			return tree.checkUnpacked(in, l.Packaging[in.Ecosystem].Check)
		}
		if in.Form == Checkout {
			return commits.check(in)
		}
		c, p := open(src, in)
		if c != nil {
			c.Close()
		}
		return p
	})
}

// Write checks the inputs of l as Check does and writes the tree to dir, which
// must hold nothing where they go. Inputs with a problem are left out.
func (l Layout) Write(dir string, src Source) ([]Problem, error) {
	if err := l.makeDirs(dir); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var trouble error
	plain, commits := byCommit(l.Inputs)
	problems := eachInput(plain, func(in Input) *Problem {
		c, p := open(src, in)
		if c == nil {
			return p
		}
		defer c.Close()
		cause, err := l.writeInput(dir, in, c)
		if err != nil {
			mu.Lock()
			trouble = errors.Join(trouble, err)
			mu.Unlock()
		}
		if cause != "" {
			bad := in.Problem(Corrupt, cause)
			return &bad
		}
		return p
	})
	more, err := l.writeCommits(dir, src, commits)
	if err := errors.Join(trouble, err); err != nil {
		return nil, err
	}
	problems = SortProblems(append(problems, more...))
	for _, f := range l.Extra {
		content := &Content{ReaderAt: strings.NewReader(string(f.Data)), Size: int64(len(f.Data))}
		if err := writeContent(filepath.Join(dir, filepath.FromSlash(f.Path)), content); err != nil {
			return nil, err
		}
	}
	return problems, fixTimes(dir)
}

// writeInput writes one input, which has been checked. The cause, "" for none,
// is why nothing was written.
func (l Layout) writeInput(dir string, in Input, c *Content) (cause string, err error) {
	if in.Form == Archive {
		return l.unpack(dir, in, c)
	}
	return "", writeContent(filepath.Join(dir, filepath.FromSlash(in.place())), c)
}

// place is where in a layout the input is.
func (in Input) place() string { return path.Join("deps", in.Ecosystem, in.Path) }

// makeDirs makes the directories of l, and refuses paths that leave dir.
func (l Layout) makeDirs(dir string) error {
	names := make([]string, 0, len(l.Inputs)+len(l.Extra))
	var errs []error
	for _, in := range l.Inputs {
		if !isLocal(in.Path) || !isLocal(in.Ecosystem) || strings.Contains(in.Ecosystem, "/") {
			errs = append(errs, fmt.Errorf("deps/%s/%s: leaves the directory", in.Ecosystem, in.Path))
		}
		names = append(names, in.place())
	}
	for _, f := range l.Extra {
		if !isLocal(f.Path) {
			errs = append(errs, fmt.Errorf("%s: leaves the directory", f.Path))
		}
		names = append(names, f.Path)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	made := map[string]bool{}
	for _, name := range names {
		parent := path.Dir(name)
		if made[parent] {
			continue
		}
		made[parent] = true
		if err := MkdirWorld(dir, parent); err != nil {
			return err
		}
	}
	return nil
}

// isLocal tells whether a slash-separated path is one below the directory that
// it is relative to.
func isLocal(name string) bool {
	return path.Clean(name) != "." && filepath.IsLocal(filepath.FromSlash(name))
}

// MkdirWorld makes base/rel and its parents below base writable for all,
// whatever the umask.
func MkdirWorld(base, rel string) error {
	at := base
	for part := range strings.SplitSeq(rel, "/") {
		at = filepath.Join(at, part)
		if err := os.Mkdir(at, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := os.Chmod(at, 0o777); err != nil {
			return err
		}
	}
	return nil
}

// open opens in and checks it. A nil Content with a nil Problem is an input
// that may be absent, and is.
func open(src Source, in Input) (*Content, *Problem) {
	c, err := src.Open(in)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			_, tree := src.(Tree)
			if in.Need == Optional || tree && (in.Need == Listed || in.Need == Alternative) {
				return nil, nil
			}
			p := in.Problem(Missing, "not in the cache")
			return nil, &p
		}
		p := in.Problem(Corrupt, "damaged in the cache: "+cause(err))
		return nil, &p
	}
	if err := c.check(in.Sum); err != nil {
		c.Close()
		p := in.Problem(Corrupt, "damaged in the cache: "+cause(err))
		return nil, &p
	}
	return c, nil
}

// check reads c; its size comes first, as that costs nothing.
func (c *Content) check(want Sum) error {
	if err := want.alg.checkSize(c.Size); err != nil {
		return err
	}
	return checkAll(c, c.Size, c.Blob, want)
}

// cause is err without the path of this machine that os errors carry.
func cause(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// eachInput calls f for each input on all CPUs and returns the problems sorted.
func eachInput(inputs []Input, f func(Input) *Problem) []Problem {
	var mu sync.Mutex
	var ps []Problem
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, in := range bySizeHint(inputs) {
		g.Go(func() error {
			if p := f(in); p != nil {
				mu.Lock()
				ps = append(ps, *p)
				mu.Unlock()
			}
			return nil
		})
	}
	g.Wait() // the functions return no errors
	return SortProblems(ps)
}

// bySizeHint puts archives before the small files that go with them, so that
// no large one is left for the end of a parallel run.
func bySizeHint(inputs []Input) []Input {
	out := slices.Clone(inputs)
	slices.SortStableFunc(out, func(a, b Input) int {
		return compareStrings(b.Kind, a.Kind, "", "")
	})
	return out
}

func writeContent(name string, c *Content) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	return errors.Join(copyContent(f, c), f.Chmod(0o666), f.Close())
}

// copyContent copies c. A whole file is left to the kernel: it does not bring
// the bytes here, and on file systems that can shares them.
func copyContent(to *os.File, c *Content) error {
	from, whole := c.ReaderAt.(*os.File)
	if !whole {
		return readInto(c, c.Size, to)
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(to, io.LimitReader(from, c.Size))
	return err
}

// fixTimes gives everything below dir, and dir itself, the one fixed time.
func fixTimes(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Type()&fs.ModeSymlink != 0:
			return setLinkTime(p, Epoch)
		}
		return os.Chtimes(p, Epoch, Epoch)
	})
}

// BuildConfig is a layout's ".build-config.json" for env, as Hermeto writes it.
func BuildConfig(env []EnvVar) File { return BuildConfigOf(env, nil, "") }

// BuildConfigOf is a BuildConfig with the project files of a build context that
// is at the absolute path source, which is where Hermeto would write them; and
// with those whose paths are absolute.
func BuildConfigOf(env []EnvVar, project []ProjectFile, source string) File {
	type projectFile struct {
		Path     string `json:"abspath"`
		Template string `json:"template"`
	}
	files := []projectFile{}
	for _, f := range project {
		at := filepath.FromSlash(f.Path)
		if !filepath.IsAbs(at) {
			at = filepath.Join(source, at)
		}
		files = append(files, projectFile{at, f.Template})
	}
	if env == nil {
		env = []EnvVar{}
	}
	data, _ := json.MarshalIndent(struct { // strings always marshal
		EnvironmentVariables []EnvVar      `json:"environment_variables"`
		ProjectFiles         []projectFile `json:"project_files"`
	}{env, files}, "", "  ")
	return File{".build-config.json", append(data, '\n')}
}

// ParseBuildConfig reads the environment and the project files, whose paths are
// absolute, from a .build-config.json; file is the name to print, and all that
// is wrong is in one error. Keys that it does not know belong to other versions
// of the tools that write it, and are left alone.
func ParseBuildConfig(file string, data []byte) ([]EnvVar, []ProjectFile, error) {
	var c struct {
		EnvironmentVariables []EnvVar `json:"environment_variables"`
		ProjectFiles         []struct {
			Path     string `json:"abspath"`
			Template string `json:"template"`
		} `json:"project_files"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			err = errors.New("not of the form that Hermeto writes")
		}
		return nil, nil, fmt.Errorf("%s: %v", file, err)
	}
	var errs []error
	if n := len(c.ProjectFiles); n > maxProjectFiles {
		return nil, nil, fmt.Errorf("%s: %d project files: more than %d", file, n, maxProjectFiles)
	}
	var project []ProjectFile
	for _, f := range c.ProjectFiles {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" || strings.Contains(f.Path, "\x00") {
			errs = append(errs, fmt.Errorf("%s: project file %q: not an absolute path", file, clip(f.Path)))
			continue
		}
		project = append(project, ProjectFile{Path: f.Path, Template: f.Template})
	}
	var vars []EnvVar
	seen := map[string]string{}
	for _, v := range c.EnvironmentVariables {
		was, twice := seen[v.Name]
		if seen[v.Name] = v.Value; !twice {
			vars = append(vars, v)
		}
		switch {
		case twice && was != v.Value:
			errs = append(errs, fmt.Errorf("%s: environment variable %q: given twice, with two values", file, clip(v.Name)))
		case v.Name == "" || strings.ContainsAny(v.Name, "=\x00"):
			errs = append(errs, fmt.Errorf("%s: environment variable %q: not a name", file, clip(v.Name)))
		case strings.Contains(v.Value, "\x00"):
			errs = append(errs, fmt.Errorf("%s: environment variable %q: a NUL in its value", file, clip(v.Name)))
		}
	}
	if len(errs) > 0 {
		return nil, nil, errors.Join(errs...)
	}
	return vars, project, nil
}
