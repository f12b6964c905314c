package policy

import (
	"errors"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// A Registry is a registry that images may come from, or a part of one.
type Registry struct {
	Host string   // with the port, in lower case
	Path []string // components that the image's path begins with
}

// String is host[:port][/path], as policies write it.
func (r Registry) String() string { return strings.Join(append([]string{r.Host}, r.Path...), "/") }

// below stands for the image in a pattern, so that the pattern is normalized as
// references to images are. Two components, as a single one may get a prefix.
const below = "/x/x"

// parseRegistry reads host[:port][/path].
func parseRegistry(s string) (Registry, error) {
	host, _, _ := strings.Cut(s, "/")
	switch {
	case strings.Contains(s, "://"):
		return Registry{}, errors.New("a registry is written without a scheme: HOST[:PORT][/PATH]")
	case strings.Contains(s, "*"):
		return Registry{}, errors.New("there are no wildcards; HOST/PATH allows all below it")
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		return Registry{}, errors.New("has no host: want HOST[:PORT][/PATH]")
	}
	named, ok := parseImage(s + below)
	if !ok {
		return Registry{}, errors.New("is not of the form HOST[:PORT][/PATH]")
	}
	r := Registry{Host: strings.ToLower(reference.Domain(named))}
	if p := strings.TrimSuffix("/"+reference.Path(named), below); p != "" {
		r.Path = strings.Split(p[1:], "/")
	}
	return r, nil
}

// parseImage is the normalized reference to an image, as BuildKit reads it.
func parseImage(s string) (reference.Named, bool) {
	named, err := reference.ParseNormalizedNamed(s)
	return named, err == nil
}

// allows tells whether an image is of the registry, and below its path.
func (r Registry) allows(image reference.Named) bool {
	components := strings.Split(reference.Path(image), "/")
	return strings.EqualFold(r.Host, reference.Domain(image)) && len(components) > len(r.Path) &&
		slices.Equal(r.Path, components[:len(r.Path)])
}
