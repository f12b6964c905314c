package cache

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// A Package is one entry of the prefetch input: a package manager and the
// directory it works in, in Hermeto's JSON
// (https://github.com/hermetoproject/hermeto, "fetch-deps"). Packages are
// comparable: two that ask for the same are equal with ==.
type Package struct {
	Type string
	Path string // slash-separated, relative to the build context; "." is its root
	// Options are the keys that the package manager has of its own, as
	// CanonicalOptions writes them; "" for none.
	Options string
}

// CanonicalOptions is v, which marshals to a JSON object or to null, in the one
// form that a Package holds: sorted keys, no spaces, "" where it is empty.
func CanonicalOptions(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var keys map[string]any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&keys); err != nil {
		return "", err
	}
	if len(keys) == 0 {
		return "", nil
	}
	data, err = json.Marshal(keys)
	return string(data), err
}

// DecodeOptions reads the options into v, as json.Unmarshal does.
func (p Package) DecodeOptions(v any) error {
	if p.Options == "" {
		return nil
	}
	return json.Unmarshal([]byte(p.Options), v)
}

// String is the package as JSON.
func (p Package) String() string {
	b, err := json.Marshal(p)
	if err != nil { // only options that CanonicalOptions did not make
		return fmt.Sprintf("%s %s", p.Type, p.Path)
	}
	return string(b)
}

// MarshalJSON writes type, path, then the options.
func (p Package) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(struct {
		Type string `json:"type"`
		Path string `json:"path"`
	}{p.Type, p.Path})
	if err == nil && p.Options != "" {
		b = append(append(b[:len(b)-1], ','), strings.TrimPrefix(p.Options, "{")...)
	}
	return b, err
}

// UnmarshalJSON reads what MarshalJSON writes. Which options there are is for
// the ecosystem to say.
func (p *Package) UnmarshalJSON(data []byte) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return err
	}
	if keys == nil {
		return errors.New("not an object")
	}
	var out Package
	for name, value := range map[string]*string{"type": &out.Type, "path": &out.Path} {
		if text, ok := keys[name]; ok {
			if err := json.Unmarshal(text, value); err != nil {
				return err
			}
			delete(keys, name)
		}
	}
	var err error
	out.Options, err = CanonicalOptions(keys)
	*p = out
	return err
}

// Compare sorts by type, path and options.
func (p Package) Compare(q Package) int {
	return cmp.Or(strings.Compare(p.Type, q.Type), strings.Compare(p.Path, q.Path), strings.Compare(p.Options, q.Options))
}
