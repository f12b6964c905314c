package escape

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/hermetic-build/hermetic/internal/ocitar"
)

// A maker does what a "make" line says. Its arguments are cut at spaces; one
// in quotes is as in Go.
type maker func(r *room, args []string) error

// imageMakers run before the files are written, and add a word for what they
// make.
var imageMakers = map[string]maker{
	// image NAME ONBUILD...: an image with triggers as they are in its config,
	// which no Dockerfile would write; {NAME}.
	"image": func(r *room, args []string) error {
		img := tools
		img.Config.OnBuild = args[1:]
		ref, err := world.PushImage(r.t.Context(), args[0]+"-"+r.listener.nonce, img)
		r.word("{"+args[0]+"}", ref)
		return err
	},
	// layout NAME ONBUILD...: the same as an OCI layout in named/NAME; {NAME} is
	// its reference without a scheme.
	"layout": func(r *room, args []string) error {
		img := tools
		img.Config.OnBuild = args[1:]
		dir := r.path("named", args[0])
		d, err := ocitar.WriteLayout(dir, img)
		r.word("{"+args[0]+"}", dir+"@"+d.String(), "{"+args[0]+".digest}", d.String())
		return err
	},
}

// fileMakers run after the files are written. Paths begin with context/, deps/
// or named/.
var fileMakers = map[string]maker{
	// prefetch [FLAG...]: the deps context, made by "hermetic prefetch" from the
	// build context.
	"prefetch": func(r *room, args []string) error {
		cmd := exec.CommandContext(r.t.Context(), filepath.Join(world.Repo(), "bin", "hermetic"),
			append(append([]string{"prefetch", "--store=" + r.path("store"), "--output=" + r.path("deps")}, args...), r.path("context"))...)
		cmd.Env = append(world.Env(), "GOPROXY="+modules.URL, "GOSUMDB=off", "GOENV=off", "GOPRIVATE=", "GONOPROXY=", "GOTOOLCHAIN=local")
		out, err := cmd.CombinedOutput()
		r.listener.take() // prefetching is no attempt
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	},
	// serve NAME FILE TEXT...: {url}/daemon/NAME is a tar archive of these files.
	"serve": func(r *room, args []string) error {
		var b bytes.Buffer
		var errs []error
		w := tar.NewWriter(&b)
		for file := range slices.Chunk(args[1:], 2) {
			errs = append(errs, w.WriteHeader(&tar.Header{Name: file[0], Mode: 0o644, Size: int64(len(file[1]))}))
			_, err := io.WriteString(w, file[1])
			errs = append(errs, err)
		}
		errs = append(errs, w.Close())
		r.listener.served[args[0]] = b.Bytes()
		return errors.Join(errs...)
	},
	"remove":   func(r *room, args []string) error { return os.RemoveAll(r.path(args[0])) },
	"mkdir":    func(r *room, args []string) error { return os.MkdirAll(r.path(args[0]), 0o755) },
	"symlink":  func(r *room, args []string) error { return os.Symlink(args[1], r.path(args[0])) },
	"hardlink": func(r *room, args []string) error { return os.Link(r.path(args[1]), r.path(args[0])) },
	"rename":   func(r *room, args []string) error { return os.Rename(r.path(args[0]), r.path(args[1])) },
	"fifo":     func(r *room, args []string) error { return syscall.Mkfifo(r.path(args[0]), 0o666) },
	"setuid": func(r *room, args []string) error {
		return os.Chmod(r.path(args[0]), os.ModeSetuid|os.ModeSetgid|0o777)
	},
	// device PATH MAJOR MINOR: a character device.
	"device": func(r *room, args []string) error {
		major, minor := atoi(args[1]), atoi(args[2])
		return syscall.Mknod(r.path(args[0]), syscall.S_IFCHR|0o666, major<<8|minor)
	},
	// socket PATH: a Unix socket that leads to the listener.
	"socket": func(r *room, args []string) error {
		l, err := net.Listen("unix", r.path(args[0]))
		if err != nil {
			return err
		}
		r.t.Cleanup(func() { l.Close() })
		go r.listener.accept("socket", l)
		return nil
	},
	// sparse PATH MB: a file of nothing.
	"sparse": func(r *room, args []string) error {
		f, err := os.Create(r.path(args[0]))
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Truncate(int64(atoi(args[1])) << 20)
	},
	// repeat PATH COUNT TEXT: adds the text COUNT times; %d in it is the number.
	"repeat": func(r *room, args []string) error {
		return r.append(args[0], func(w io.Writer) {
			numbered := strings.Contains(args[2], "%d")
			for i := range atoi(args[1]) {
				if numbered {
					fmt.Fprintf(w, args[2], i)
				} else {
					_, _ = io.WriteString(w, args[2])
				}
			}
		})
	},
	// many DIR COUNT: that many files.
	"many": func(r *room, args []string) error {
		if err := os.MkdirAll(r.path(args[0]), 0o755); err != nil {
			return err
		}
		for i := range atoi(args[1]) {
			if err := os.WriteFile(r.path(args[0], strconv.Itoa(i)), nil, 0o644); err != nil {
				return err
			}
		}
		return nil
	},
	// dirs DIR COUNT NAME TEXT: that many directories with such a file.
	"dirs": func(r *room, args []string) error {
		for i := range atoi(args[1]) {
			dir := r.path(args[0], strconv.Itoa(i))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, args[2]), []byte(args[3]), 0o644); err != nil {
				return err
			}
		}
		return nil
	},
	// deep DIR COUNT NAME: directories in directories, with a file of that name in the last.
	"deep": func(r *room, args []string) error {
		dir := filepath.Join(r.path(args[0]), strings.Repeat("d/", atoi(args[1])))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, args[2]), []byte("module example.com/deep\n"), 0o644)
	},
	// file PATH TEXT: a file with a name or a content that an archive cannot have.
	"file": func(r *room, args []string) error {
		if err := os.MkdirAll(filepath.Dir(r.path(args[0])), 0o755); err != nil {
			return err
		}
		return os.WriteFile(r.path(args[0]), []byte(args[1]), 0o644)
	},
	// flip PATH OFFSET: damages one byte.
	"flip": func(r *room, args []string) error {
		data, err := os.ReadFile(r.path(args[0]))
		if err != nil {
			return err
		}
		data[atoi(args[1])] ^= 1
		return replaceFile(r.path(args[0]), data)
	},
	// edit PATH REGEXP TEXT: replaces the first match, which must be there.
	"edit": func(r *room, args []string) error {
		data, err := os.ReadFile(r.path(args[0]))
		if err != nil {
			return err
		}
		re, err := regexp.Compile(args[1])
		if err != nil {
			return err
		}
		at := re.FindSubmatchIndex(data)
		if at == nil {
			return fmt.Errorf("%s: no %s in\n%s", args[0], args[1], data)
		}
		text := re.Expand(nil, []byte(args[2]), data, at)
		return replaceFile(r.path(args[0]), bytes.Join([][]byte{data[:at[0]], text, data[at[1]:]}, nil))
	},
	// zip KIND: puts a zip bomb in the place of the large module (bomb_test.go).
	"zip": func(r *room, args []string) error { return r.bomb(args[0]) },
	// crate KIND: the build context needs a crate of that kind (crate_test.go), which
	// is in the registry named/crates.
	"crate": func(r *room, args []string) error { return r.crate(args[0]) },
}

// makeAll does the "make" lines whose makers are in the map.
func (r *room) makeAll(makers map[string]maker) {
	r.t.Helper()
	for _, line := range r.attempt.make {
		args, err := words(r.words.Replace(line))
		if err != nil {
			r.t.Fatalf("make: %s: %v", line, err)
		}
		if imageMakers[args[0]] == nil && fileMakers[args[0]] == nil {
			r.t.Fatalf("make: %s: no such word", line)
		}
		if do := makers[args[0]]; do != nil {
			if err := do(r, args[1:]); err != nil {
				r.t.Fatalf("make: %s: %v", line, err)
			}
		}
	}
}

// words cuts a line at spaces; what is in quotes is one word.
func words(line string) ([]string, error) {
	var out []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		if line[0] != '"' {
			var w string
			w, line, _ = strings.Cut(line, " ")
			out = append(out, w)
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, err
		}
		w, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, err
		}
		out, line = append(out, w), line[len(quoted):]
	}
	return out, nil
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err) // an archive is wrong
	}
	return n
}

// append adds to a file.
func (r *room) append(name string, write func(io.Writer)) error {
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(r.path(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	var buf bytes.Buffer
	write(&buf)
	_, err = f.Write(buf.Bytes())
	return err
}

// replaceFile writes a new file: the old one may be a link into a store.
func replaceFile(name string, data []byte) error {
	if err := os.Remove(name); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}
