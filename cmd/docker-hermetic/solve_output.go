package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/go-csvvalue"
	"golang.org/x/term"
)

// exports are the outputs of a build without buildx: --output in buildx's
// notation, --push, and --tag, which names what images there are.
func exports(l *buildLine, files *outputFiles) ([]client.ExportEntry, error) {
	var out []client.ExportEntry
	for _, text := range l.values("output") {
		if text == "type=cacheonly" {
			continue // buildx's word for no output
		}
		e, err := parseOutput(text, files)
		if err != nil {
			return nil, usage(fmt.Sprintf("--output %s: %v", text, bare(err)), "an example is --output type=local,dest=out")
		}
		out = append(out, e)
	}
	tags := strings.Join(l.values("tag"), ",")
	if l.on("push") || len(out) == 0 && tags != "" {
		out = append(out, client.ExportEntry{Type: client.ExporterImage, Attrs: map[string]string{}})
	}
	for _, e := range out {
		switch e.Type {
		case client.ExporterImage, client.ExporterOCI, client.ExporterDocker:
			if tags != "" {
				e.Attrs["name"] = tags
			}
		}
		if e.Type == client.ExporterImage {
			if l.on("push") {
				e.Attrs["push"] = "true"
			}
			if push, _ := strconv.ParseBool(e.Attrs["push"]); push && e.Attrs["name"] == "" {
				return nil, usage("--push: no name to push to", "add --tag NAME")
			}
		}
	}
	return out, nil
}

// parseOutput reads one --output: "type=TYPE,KEY=VALUE,…", a directory, or "-"
// for a tar archive on standard output.
func parseOutput(text string, files *outputFiles) (client.ExportEntry, error) {
	e := client.ExportEntry{Attrs: map[string]string{}}
	fields, err := csvvalue.Fields(text, nil)
	switch {
	case err != nil:
		return e, err
	case text == "-":
		e.Type, e.Attrs["dest"] = client.ExporterTar, "-"
	case len(fields) == 1 && !strings.HasPrefix(text, "type="):
		e.Type, e.Attrs["dest"] = client.ExporterLocal, text
	default:
		for _, f := range fields {
			key, value, ok := strings.Cut(f, "=")
			if !ok {
				return e, fmt.Errorf("%q: want KEY=VALUE", f)
			}
			e.Attrs[strings.ToLower(strings.TrimSpace(key))] = value
		}
		e.Type = e.Attrs["type"]
		delete(e.Attrs, "type")
	}
	return e, files.direct(&e)
}

// outputFiles are the files that a build writes: each appears under its name
// when the whole build has succeeded.
type outputFiles struct {
	stdout io.Writer
	staged []stagedFile
}

type stagedFile struct {
	*os.File
	name string
}

// direct decides where the bytes of an export go.
func (o *outputFiles) direct(e *client.ExportEntry) error {
	dest := e.Attrs["dest"]
	delete(e.Attrs, "dest")
	isDir := e.Type == client.ExporterLocal
	switch e.Type {
	case "registry":
		e.Type, e.Attrs["push"] = client.ExporterImage, "true"
	case client.ExporterOCI, client.ExporterDocker:
		if tar, err := strconv.ParseBool(e.Attrs["tar"]); err == nil && !tar {
			isDir = true
		}
	case client.ExporterImage, client.ExporterLocal, client.ExporterTar:
	default:
		return fmt.Errorf("type %q: not without buildx, of which there is none", e.Type)
	}
	switch {
	case e.Type == client.ExporterImage:
		if dest != "" {
			return errors.New("dest: images are pushed, not written")
		}
	case isDir && dest == "":
		return errors.New("no dest=DIR")
	case isDir:
		e.OutputDir = dest
	case dest == "" || dest == "-":
		if f, ok := o.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return errors.New("an archive is not printed to a terminal; give dest=FILE")
		}
		e.Output = func(map[string]string) (io.WriteCloser, error) { return unclosed{o.stdout}, nil }
	default:
		return o.file(e, dest)
	}
	return nil
}

// file stages the file of an export.
func (o *outputFiles) file(e *client.ExportEntry, name string) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".hermetic-")
	if err != nil {
		return err
	}
	o.staged = append(o.staged, stagedFile{f, name})
	e.Output = func(map[string]string) (io.WriteCloser, error) { return unclosed{f}, nil }
	return nil
}

// commit gives the files their names.
func (o *outputFiles) commit() error {
	for _, f := range o.staged {
		if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
			return err
		}
		if err := os.Rename(f.Name(), f.name); err != nil {
			return fmt.Errorf("%s: %w", f.name, bare(err))
		}
	}
	return nil
}

// discard removes what was not committed.
func (o *outputFiles) discard() {
	for _, f := range o.staged {
		f.Close()
		os.Remove(f.Name())
	}
}

// unclosed is a writer that its owner closes.
type unclosed struct{ io.Writer }

// Close does nothing.
func (unclosed) Close() error { return nil }
