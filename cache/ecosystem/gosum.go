package ecosystem

import (
	"fmt"
	"strings"

	"golang.org/x/mod/module"

	"github.com/hermetic-build/hermetic/cache"
)

// emptyGoMod is the sum of an empty go.mod file. Old go commands wrote it by
// mistake, and newer ones pass over such lines (cmd/go/internal/modfetch,
// readGoSum).
const emptyGoMod = "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY="

// parseGoSum reads a go.sum: "module version h1:…" or "module version/go.mod
// h1:…" a line (https://go.dev/ref/mod#go-sum-files).
func parseGoSum(name string, data []byte) ([]cache.Input, []cache.Problem) {
	var inputs []cache.Input
	var problems []cache.Problem
	line := 0
	for text := range strings.Lines(string(data)) {
		line++
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		if len(fields) == 3 && fields[2] == emptyGoMod {
			continue
		}
		in, cause := goSumLine(fields)
		if cause != "" {
			problems = append(problems, cache.Problem{Kind: cache.BadLock, Origin: cache.Origin{File: name, Line: line}, Cause: cause})
			continue
		}
		in.Origin = cache.Origin{File: name, Line: line}
		inputs = append(inputs, in)
	}
	return inputs, problems
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
