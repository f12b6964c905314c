package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// A buildContext is a directory of this machine that a build is made from.
type buildContext struct {
	name string // as the user gave it
	root *os.Root
}

// openContext opens CONTEXT. One that is no directory of this machine is a
// misuse: what it needs cannot be read from here.
func openContext(name string) (*buildContext, error) {
	if isRemote(name) {
		return nil, usage(fmt.Sprintf("%s: not a directory of this machine", name),
			"check the source out and name its directory: the lockfiles in it are read here")
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, bare(err))
	}
	return &buildContext{name, root}, nil
}

// Close releases the directory.
func (c *buildContext) Close() { c.root.Close() }

// fs is the context as plans see it: like BuildKit, which sends links as they
// are, it follows none that leads outside.
func (c *buildContext) fs() fs.FS { return c.root.FS() }

// isRemote tells whether a CONTEXT is fetched by the builder rather than sent
// from here: "-", a URL, or one of docker's short forms of a git URL.
func isRemote(name string) bool {
	if name == "-" || strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
		return true
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return false
	}
	_, git, _ := dfgitutil.ParseGitRef(name)
	return git || strings.Contains(name, "://")
}

// bare is an error of the file system without the operation and the path,
// which the message names in the user's words.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}

// packages are those of the prefetch input, or those that lie in the context.
func (p *program) packages(c *buildContext, input string) ([]cache.Package, error) {
	if input == "" {
		found, err := ecosystem.Discover(c.fs())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, bare(err))
		}
		return found, nil
	}
	return parseInput(input)
}

// parseInput reads --input: JSON or a package type, else the name of a file
// that holds one of them.
func parseInput(input string) ([]cache.Package, error) {
	text := strings.TrimSpace(input)
	if !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "[") && !slices.Contains(ecosystem.Types(), text) {
		data, err := os.ReadFile(input)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usage(fmt.Sprintf("--input %q: neither JSON, nor a package type (%s), nor a file", input, strings.Join(ecosystem.Types(), ", ")),
				`an example is --input '{"type": "gomod", "path": "."}'`)
		}
		if err != nil {
			return nil, usage(fmt.Sprintf("--input %s: %v", input, bare(err)), "")
		}
		text = string(data)
	}
	pkgs, err := ecosystem.ParsePackages(text)
	if err != nil {
		return nil, usage(err.Error(), `an example is --input '{"type": "gomod", "path": "."}'`)
	}
	return pkgs, nil
}

// inputJSON is the prefetch input that stands for pkgs.
func inputJSON(pkgs []cache.Package) string {
	texts := make([]string, len(pkgs))
	for i, pkg := range pkgs {
		texts[i] = pkg.String()
	}
	return "[" + strings.Join(texts, ",") + "]"
}

// parsePlatforms reads --platform flags, each a list with commas, in the
// notation of docker: "local" is this machine's. The result has the notation
// of plans, "linux/amd64", each once.
func parsePlatforms(flags []string) ([]string, error) {
	var out []string
	for _, list := range flags {
		for text := range strings.SplitSeq(list, ",") {
			text = strings.TrimSpace(text)
			name := ownPlatform()
			if text != "local" {
				parsed, err := platforms.Parse(text)
				if err != nil || text == "" {
					return nil, usage(fmt.Sprintf("--platform %q: not a platform", text), "an example is --platform linux/amd64,linux/arm64")
				}
				name = platforms.Format(platforms.Normalize(parsed))
			}
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out, nil
}

// ownPlatform is what a builder on this machine runs, whatever this machine's
// own system is: builds are of Linux images.
func ownPlatform() string { return "linux/" + runtime.GOARCH }

// inside tells whether path is dir or below it, where links lead to. What does
// not exist is judged by the nearest directory above it that does.
func inside(dir, path string) (bool, error) {
	dir, err := realPath(dir)
	if err != nil {
		return false, err
	}
	if path, err = realPath(path); err != nil {
		return false, err
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel), nil
}

// realPath is path, absolute and without links, as far as it exists.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for at, rest := abs, ""; ; at, rest = filepath.Dir(at), filepath.Join(filepath.Base(at), rest) {
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			return "", err
		}
	}
}
