package escape

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/tools/txtar"
)

// An attempt is one archive, parsed.
type attempt struct {
	text    string // what is tried
	kind    string // of expectation: sealed, fails, refused, open
	want    *regexp.Regexp
	control string // "arrives" or "none"
	same    bool
	silent  bool
	daemon  bool
	noArg   bool // BUILDKIT_SYNTAX is not given

	args, env, opts []string
	inputs, make    []string
	ssh             string
	says, lacks     []*regexp.Regexp
	holds           map[string]*regexp.Regexp
	files           []txtar.File

	base string // the base image's reference, once it is built
}

// hasBase tells whether the attempt has a base image of its own.
func (a *attempt) hasBase() bool {
	return slices.ContainsFunc(a.files, func(f txtar.File) bool { return f.Name == "base/Dockerfile" })
}

// library tells whether the client library builds, rather than buildx.
func (a *attempt) library() bool { return len(a.opts)+len(a.inputs) > 0 || a.ssh != "" }

// parseAttempt reads an archive.
func parseAttempt(data []byte) (*attempt, error) {
	archive := txtar.Parse(data)
	text, settings, ok := bytes.Cut(archive.Comment, []byte("\n\n"))
	if !ok {
		return nil, fmt.Errorf("no settings after a blank line")
	}
	a := &attempt{text: string(text), control: "arrives", files: archive.Files, holds: map[string]*regexp.Regexp{}}
	for line := range strings.Lines(string(settings)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ": ")
		if !ok {
			return nil, fmt.Errorf("%q: want key: value", line)
		}
		if err := a.set(key, value); err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
	}
	if a.kind == "" {
		return nil, fmt.Errorf("nothing is expected")
	}
	return a, nil
}

func (a *attempt) set(key, value string) (err error) {
	word, rest, _ := strings.Cut(value, " ")
	word = strings.TrimSuffix(word, ",")
	lists := map[string]*[]string{"arg": &a.args, "env": &a.env, "opt": &a.opts, "input": &a.inputs, "make": &a.make}
	flags := map[string]*bool{"same": &a.same, "runs": &a.silent, "daemon": &a.daemon, "syntax": &a.noArg}
	texts := map[string]*[]*regexp.Regexp{"says": &a.says, "lacks": &a.lacks}
	switch {
	case lists[key] != nil:
		*lists[key] = append(*lists[key], value)
	case flags[key] != nil:
		*flags[key] = true
	case texts[key] != nil:
		re, err := regexp.Compile(value)
		if err != nil {
			return err
		}
		*texts[key] = append(*texts[key], re)
	case key == "expect":
		if word != "sealed" && word != "fails" && word != "refused" && word != "open" || word != "sealed" && rest == "" {
			return fmt.Errorf("no such expectation")
		}
		a.kind = word
		a.want, err = regexp.Compile(rest)
	case key == "control" && (word == "arrives" || word == "none" && rest != ""):
		a.control = word
	case key == "ssh":
		a.ssh = value
	case key == "holds":
		a.holds[word], err = regexp.Compile(rest)
	default:
		return fmt.Errorf("no such setting")
	}
	return err
}
