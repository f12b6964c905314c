package ecosystem

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

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
	raw, errs := splitInput(strings.TrimSpace(input))
	if len(raw) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("no packages"))
	}
	var pkgs []cache.Package
	for i, r := range raw {
		p, problems := parsePackage(r)
		for _, err := range problems {
			errs = append(errs, fmt.Errorf("package %d: %v", i+1, err))
		}
		pkgs = append(pkgs, p)
	}
	if len(errs) > 0 {
		for i, err := range errs {
			errs[i] = fmt.Errorf("prefetch input: %v", err)
		}
		return nil, errors.Join(errs...)
	}
	return sortPackages(pkgs), nil
}

// sortPackages sorts packages and drops repetitions.
func sortPackages(pkgs []cache.Package) []cache.Package {
	slices.SortFunc(pkgs, cache.Package.Compare)
	return slices.Compact(pkgs)
}

// splitInput finds the packages in a prefetch input of any form.
func splitInput(text string) ([]json.RawMessage, []error) {
	if text == "" {
		return nil, []error{errors.New("empty")}
	}
	if text[0] != '[' && text[0] != '{' {
		quoted, _ := json.Marshal(map[string]string{"type": text}) // a string always marshals
		return []json.RawMessage{quoted}, nil
	}
	if err := json.Unmarshal([]byte(text), new(json.RawMessage)); err != nil {
		return nil, []error{fmt.Errorf("not JSON: %v", err)}
	}
	if text[0] == '[' {
		return list([]byte(text))
	}
	keys := object([]byte(text))
	if _, ok := keys["packages"]; !ok {
		return []json.RawMessage{[]byte(text)}, nil
	}
	raw, errs := list(keys["packages"])
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if k != "packages" && k != "flags" {
			errs = append(errs, fmt.Errorf("key %.80q: not one of packages, flags", k))
		}
	}
	return raw, append(errs, checkFlags(keys["flags"])...)
}

// list reads a JSON array.
func list(data []byte) ([]json.RawMessage, []error) {
	var raw []json.RawMessage
	if json.Unmarshal(data, &raw) != nil || raw == nil {
		return nil, []error{errors.New("packages: not a list")}
	}
	return raw, nil
}

// object reads a JSON object; nil is anything else.
func object(data []byte) map[string]json.RawMessage {
	var keys map[string]json.RawMessage
	if json.Unmarshal(data, &keys) != nil {
		return nil
	}
	return keys
}

func checkFlags(data []byte) []error {
	var given []any
	if data == nil {
		return nil
	}
	if json.Unmarshal(data, &given) != nil || given == nil {
		return []error{errors.New("flags: not a list")}
	}
	var errs []error
	for _, f := range given {
		if s, ok := f.(string); !ok || !slices.Contains(flags, s) {
			errs = append(errs, fmt.Errorf("flag %.80q: not one of %s", fmt.Sprint(f), strings.Join(flags, ", ")))
		}
	}
	return errs
}

// parsePackage reads one package. Which keys it may have is known only where
// its type is.
func parsePackage(data []byte) (cache.Package, []error) {
	keys := object(data)
	if keys == nil {
		return cache.Package{}, []error{errors.New("not an object")}
	}
	if keys["type"] == nil {
		return cache.Package{}, []error{errors.New(`no "type"`)}
	}
	kind, ok := text(keys["type"])
	if !ok {
		return cache.Package{}, []error{errors.New("type: not a string")}
	}
	if _, err := find(kind); err != nil {
		return cache.Package{}, []error{err}
	}
	p := cache.Package{Type: kind}
	var errs []error
	if keys["path"] != nil {
		if p.Path, ok = text(keys["path"]); !ok {
			errs = append(errs, errors.New("path: not a string"))
		}
	}
	delete(keys, "type")
	delete(keys, "path")
	if err := cleanPath(&p); err != nil {
		errs = append(errs, err)
	}
	return p, append(setOptions(&p, keys), errs...)
}

// clean is p in the one form of all that mean the same, or what is wrong with
// it.
func clean(p cache.Package) (cache.Package, []error) {
	if _, err := find(p.Type); err != nil {
		return p, []error{err}
	}
	keys := map[string]json.RawMessage{}
	var errs []error
	if err := p.DecodeOptions(&keys); err != nil {
		errs = append(errs, errors.New("options: not a JSON object"))
	}
	if err := cleanPath(&p); err != nil {
		errs = append(errs, err)
	}
	return p, append(setOptions(&p, keys), errs...)
}

// setOptions has the ecosystem of p read keys.
func setOptions(p *cache.Package, keys map[string]json.RawMessage) []error {
	e, err := find(p.Type)
	if err != nil {
		return []error{err}
	}
	options, errs := e.Options(keys)
	if len(errs) > 0 {
		return errs
	}
	if p.Options, err = cache.CanonicalOptions(options); err != nil {
		return []error{err}
	}
	return nil
}

// readKeys reads the keys of a package into known, which maps the name of each
// to a pointer as json.Unmarshal takes it. All that is wrong is in the errors.
func readKeys(given map[string]json.RawMessage, known map[string]any) []error {
	var errs []error
	for _, k := range slices.Sorted(maps.Keys(given)) {
		into, ok := known[k]
		switch {
		case !ok:
			names := append([]string{"type", "path"}, slices.Sorted(maps.Keys(known))...)
			errs = append(errs, fmt.Errorf("key %.80q: not one of %s", k, strings.Join(names, ", ")))
		case string(given[k]) != "null" && json.Unmarshal(given[k], into) != nil:
			errs = append(errs, fmt.Errorf("%s: not %s", k, wanted(into)))
		}
	}
	return errs
}

// wanted says in words what JSON a pointer takes.
func wanted(into any) string {
	switch into.(type) {
	case *string:
		return "a string"
	case *bool:
		return "true or false"
	case *[]string, **[]string:
		return "a list of strings"
	}
	return "of the form that Hermeto takes"
}

// text reads a JSON string.
func text(data []byte) (string, bool) {
	var s *string
	if json.Unmarshal(data, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

// cleanPath fills in the default path and refuses one that leaves the context.
func cleanPath(p *cache.Package) error {
	if path.IsAbs(p.Path) || p.Path != "" && !filepath.IsLocal(filepath.FromSlash(p.Path)) ||
		slices.Contains(strings.Split(p.Path, "/"), "..") || strings.Contains(p.Path, "\x00") {
		return fmt.Errorf("path %.80q: not a path inside the build context", p.Path)
	}
	p.Path = path.Clean(p.Path)
	return nil
}
