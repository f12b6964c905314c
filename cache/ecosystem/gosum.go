package ecosystem

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/mod/module"

	"github.com/hermetic-build/hermetic/cache"
)

// emptyGoMod is the sum of an empty go.mod file. Old go commands wrote it by
// mistake, and newer ones pass over such lines (cmd/go/internal/modfetch,
// readGoSum).
const emptyGoMod = "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY="

// Bounds of what is read of Go's files. The largest projects stay far below.
const (
	maxGoMod   = 4 << 20  // bytes of a go.mod or go.work
	maxGoSum   = 32 << 20 // bytes of a go.sum, go.work.sum or vendor/modules.txt
	maxGoLines = 300_000  // lines of any of them
	maxGoLine  = 64 << 10 // bytes of a line of a sum file
)

// readGo reads one of Go's files. The error is fs.ErrNotExist where there is
// none.
func readGo(fsys fs.FS, name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	switch {
	case err != nil:
		return nil, err
	case info.Size() > limit:
		return nil, errors.New(tooLarge(limit))
	}
	data, err := fs.ReadFile(fsys, name)
	if err == nil && bytes.Count(data, []byte("\n")) > maxGoLines {
		return nil, fmt.Errorf("more than %d lines", maxGoLines)
	}
	return data, err
}

// parseGoSum reads a go.sum: "module version h1:…" or "module version/go.mod
// h1:…" a line (https://go.dev/ref/mod#go-sum-files).
func parseGoSum(name string, data []byte) ([]cache.Input, []cache.Problem) {
	var inputs []cache.Input
	bad := lockReader{file: name}
	line := 0
	for text := range strings.Lines(string(data)) {
		line++
		if len(text) > maxGoLine {
			bad.problem(line, "", fmt.Sprintf("longer than %d KB", maxGoLine>>10))
			continue
		}
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		if len(fields) == 3 && fields[2] == emptyGoMod {
			continue
		}
		in, cause := goSumLine(fields)
		if cause != "" {
			bad.problem(line, "", cause)
			continue
		}
		in.Origin = cache.Origin{File: name, Line: line}
		inputs = append(inputs, in)
	}
	return inputs, bad.all()
}

// goSumLine reads one line; the cause says what is wrong with it.
func goSumLine(fields []string) (cache.Input, string) {
	if len(fields) != 3 {
		return cache.Input{}, fmt.Sprintf("want 3 fields, found %d", len(fields))
	}
	in := cache.Input{Ecosystem: "gomod", Kind: kindZip, Name: fields[0], Version: fields[1]}
	suffix, notation := ".zip", fields[2]
	if v, ok := strings.CutSuffix(in.Version, "/go.mod"); ok {
		in.Version, in.Kind, suffix = v, kindMod, ".mod"
		notation = strings.Replace(notation, "h1:", "h1mod:", 1)
	}
	if err := module.Check(in.Name, in.Version); err != nil {
		return cache.Input{}, err.Error()
	}
	if module.CanonicalVersion(in.Version) != in.Version {
		return cache.Input{}, fmt.Sprintf("%s@%s: not the whole of a version", in.Name, in.Version)
	}
	sum, err := cache.ParseSum(notation)
	if err != nil || !strings.HasPrefix(fields[2], "h1:") {
		return cache.Input{}, fmt.Sprintf("checksum %.80q: want h1: and the base64 of 32 bytes", fields[2])
	}
	in.Sum = sum
	if in.Name == toolchainModule {
		in.Need = cache.Optional
	}
	in.Path = downloadPath(in.Name, in.Version, suffix)
	return in, ""
}
