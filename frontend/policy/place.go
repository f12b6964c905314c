package policy

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

var (
	lineNumber = regexp.MustCompile(`(?i)^(?:lines?\s*|L)?[0-9]+(?:\s*-\s*L?[0-9]+)?$`)
	fileLine   = regexp.MustCompile(`^(\S+):L?[0-9]+(?:[-:][0-9]+)?$`)
	stageName  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*$`)
)

// textFiles are endings of files that have lines, and could pass for the names
// of images with a tag.
var textFiles = []string{".dockerfile", ".json", ".lock", ".mod", ".sum", ".toml", ".txt", ".work", ".yaml", ".yml"}

// badPlace says why a place is none; "" where it is one.
func badPlace(place string) string {
	const cause = "a line number is no place, as lines move: " +
		"give the image, the URL, the text of the instruction or the name of the stage"
	if lineNumber.MatchString(place) {
		return cause
	}
	m := fileLine.FindStringSubmatch(place)
	if m == nil || strings.Contains(place, "://") {
		return ""
	}
	name := strings.ToLower(path.Base(m[1]))
	bare := name == m[1] && (name == "dockerfile" || name == "containerfile")
	ending := slices.ContainsFunc(textFiles, func(e string) bool { return strings.HasSuffix(name, e) })
	if _, err := reference.ParseNormalizedNamed(place); err != nil || bare || ending {
		return cause
	}
	return ""
}

var continued = regexp.MustCompile(`\\[ \t]*\n`)

// oneLine is a place with its continued lines joined, as in a Dockerfile, and
// each run of white space as one space.
func oneLine(place string) string {
	return strings.Join(strings.Fields(continued.ReplaceAllString(place, "")), " ")
}

// placeKeys are the forms in which two places are compared: they are the same
// place when they share one.
//
//   - the text on one line;
//   - the name of a stage, in lower case, as BuildKit does not tell them apart;
//   - the full name of an image, with registry and tag or digest.
func placeKeys(place string) []string {
	text := oneLine(place)
	keys := []string{"text " + text}
	if stageName.MatchString(text) {
		keys = append(keys, "stage "+strings.ToLower(text))
	}
	if image, ok := parseImage(text); ok {
		host, rest, _ := strings.Cut(reference.TagNameOnly(image).String(), "/")
		keys = append(keys, "image "+strings.ToLower(host)+"/"+rest)
	}
	return keys
}
