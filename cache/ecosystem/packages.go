package ecosystem

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/patternmatcher/ignorefile"

	"github.com/hermetic-build/hermetic/cache"
)

// flags are the words that Hermeto accepts beside packages. They steer its
// subprocesses, of which we have none, so they change nothing here.
var flags = []string{"cgo-disable", "dev-package-managers", "force-gomod-tidy", "gomod-vendor", "gomod-vendor-check"}

// ParsePackages reads a prefetch input in any form that Hermeto takes: a bare
// package type, a JSON object, a JSON array, or {"packages": […], "flags": […]}.
// All that is wrong with it is in the one error, a line each. The result is
// sorted and without repetitions.
func ParsePackages(input string) ([]cache.Package, error) {
	text := strings.TrimSpace(input)
	var raw []json.RawMessage
	switch {
	case text == "":
		return nil, errors.New("prefetch input: empty")
	case text[0] == '[':
		if err := decodeStrict([]byte(text), &raw); err != nil {
			return nil, fmt.Errorf("prefetch input: %v", err)
		}
	case text[0] == '{':
		var err error
		if raw, err = parseObject([]byte(text)); err != nil {
			return nil, err
		}
	default:
		quoted, _ := json.Marshal(map[string]string{"type": text}) // a string always marshals
		raw = []json.RawMessage{quoted}
	}
	if len(raw) == 0 {
		return nil, errors.New("prefetch input: no packages")
	}
	return parseEach(raw)
}

// parseObject tells a lone package from the form with "packages".
func parseObject(text []byte) ([]json.RawMessage, error) {
	var keys map[string]json.RawMessage
	if err := decodeStrict(text, &keys); err != nil {
		return nil, fmt.Errorf("prefetch input: %v", err)
	}
	if _, ok := keys["packages"]; !ok {
		return []json.RawMessage{text}, nil
	}
	var form struct {
		Packages []json.RawMessage `json:"packages"`
		Flags    []string          `json:"flags"`
	}
	if err := decodeStrict(text, &form); err != nil {
		return nil, fmt.Errorf("prefetch input: %v", err)
	}
	var errs []error
	for _, f := range form.Flags {
		if !slices.Contains(flags, f) {
			errs = append(errs, fmt.Errorf("prefetch input: flag %q: not one of %s", f, strings.Join(flags, ", ")))
		}
	}
	return form.Packages, errors.Join(errs...)
}

func parseEach(raw []json.RawMessage) ([]cache.Package, error) {
	var pkgs []cache.Package
	var errs []error
	for i, r := range raw {
		var p cache.Package
		err := decodeStrict(r, &p)
		if err == nil {
			err = checkPackage(&p)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("prefetch input: package %d: %v", i+1, err))
			continue
		}
		if !slices.Contains(pkgs, p) {
			pkgs = append(pkgs, p)
		}
	}
	return pkgs, errors.Join(errs...)
}

// checkPackage fills in the default path and refuses one that leaves the context.
func checkPackage(p *cache.Package) error {
	if p.Type == "" {
		return errors.New(`no "type"`)
	}
	if _, err := find(p.Type); err != nil {
		return err
	}
	if p.Path == "" {
		p.Path = "."
	}
	if path.IsAbs(p.Path) || !filepath.IsLocal(filepath.FromSlash(p.Path)) || slices.Contains(strings.Split(p.Path, "/"), "..") {
		return fmt.Errorf("path %q: not a path inside the build context", p.Path)
	}
	p.Path = path.Clean(p.Path)
	return nil
}

// decodeStrict is json.Unmarshal that refuses unknown keys and trailing text.
func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("not valid: %v", strings.TrimPrefix(err.Error(), "json: "))
	}
	if dec.More() {
		return errors.New("not valid: text after the JSON value")
	}
	return nil
}

func ignorePatterns(data []byte) ([]string, error) {
	return ignorefile.ReadAll(bytes.NewReader(data))
}
