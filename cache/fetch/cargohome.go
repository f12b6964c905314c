package fetch

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// cargoHome is what the user's own settings of cargo say of registries: the
// config.toml and credentials.toml of CARGO_HOME, and the environment, which
// comes first (https://doc.rust-lang.org/cargo/reference/config.html).
type cargoHome struct {
	env    func(string) string
	config cargoFile
	tokens cargoFile
}

// A cargoFile is the part of such a file that matters here.
type cargoFile struct {
	Source map[string]struct {
		Registry      string `toml:"registry"`
		Directory     string `toml:"directory"`
		LocalRegistry string `toml:"local-registry"`
		ReplaceWith   string `toml:"replace-with"`
	} `toml:"source"`
	Registries map[string]struct {
		Index string `toml:"index"`
		Token string `toml:"token"`
	} `toml:"registries"`
}

func readCargoHome(env func(string) string) (cargoHome, error) {
	h := cargoHome{env: env}
	dir := env("CARGO_HOME")
	if dir == "" && env("HOME") != "" {
		dir = filepath.Join(env("HOME"), ".cargo")
	}
	if dir == "" {
		return h, nil
	}
	if err := readCargoFile(dir, "config", &h.config); err != nil {
		return h, err
	}
	return h, readCargoFile(dir, "credentials", &h.tokens)
}

// readCargoFile reads a file that may have the suffix ".toml", and may not be
// there. The error does not repeat what is in it.
func readCargoFile(dir, base string, into *cargoFile) error {
	for _, name := range []string{base, base + ".toml"} {
		name = filepath.Join(dir, name)
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return &configError{name + ": " + osCause(err)}
		}
		if toml.Unmarshal(data, into) != nil {
			return &configError{name + ": not TOML that cargo reads"}
		}
		return nil
	}
	return nil
}

// defaultIndex is what replaces the registry that cargo has built in; "" for
// nothing.
func (h cargoHome) defaultIndex() (string, error) {
	name, seen := "crates-io", map[string]bool{}
	for !seen[name] {
		seen[name] = true
		s, ok := h.config.Source[name]
		switch {
		case s.ReplaceWith != "":
			name = s.ReplaceWith
			continue
		case s.Directory != "" || s.LocalRegistry != "":
			return "", &configError{"cargo's config.toml replaces crates-io by a directory: give the index of a registry by --mirror cargo=URL"}
		case ok && s.Registry != "" && name != "crates-io":
			return s.Registry, nil
		}
		return h.index(name), nil
	}
	return "", &configError{"cargo's config.toml replaces crates-io by itself"}
}

// index is the index of a registry by its name; "" for one that is not known.
func (h cargoHome) index(name string) string {
	variable := strings.TrimSuffix(ecosystem.CargoTokenVariable(name), "TOKEN") + "INDEX"
	if v := h.env(variable); v != "" {
		return v
	}
	return h.config.Registries[name].Index
}

// token is the value of a variable that holds a token; credentials.toml stands
// in for the environment.
func (h cargoHome) token(variable string) string {
	if v := h.env(variable); v != "" {
		return v
	}
	for _, file := range []cargoFile{h.tokens, h.config} {
		for name, r := range file.Registries {
			if r.Token != "" && ecosystem.CargoTokenVariable(name) == variable {
				return r.Token
			}
		}
	}
	return ""
}

// tokenOf is the token for the registry with an index, as far as the user's own
// settings name it.
func (h cargoHome) tokenOf(index string) string {
	for _, name := range slices.Sorted(maps.Keys(h.config.Registries)) {
		if h.index(name) == index {
			if t := h.token(ecosystem.CargoTokenVariable(name)); t != "" {
				return t
			}
		}
	}
	return ""
}
