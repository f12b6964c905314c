package ecosystem

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/package-url/packageurl-go"
	"go.yaml.in/yaml/v3"

	"github.com/hermetic-build/hermetic/cache"
)

// The versions of artifacts.lock.yaml. The second has "auth".
const (
	artifacts1 = "1.0"
	artifacts2 = "2.0"
)

// fileSums are the algorithms that an artifact's checksum may have.
var fileSums = []cache.Algorithm{
	cache.SHA256, cache.SHA512, cache.SHA384, cache.SHA224, cache.BLAKE2b, cache.BLAKE2s, cache.SHA1, cache.MD5,
}

// artifactReader reads an artifacts.lock.yaml
// (https://github.com/hermetoproject/hermeto, docs/generic.md):
//
//	metadata:
//	  version: "2.0"
//	artifacts:
//	  - download_url: https://example.com/tool.tgz
//	    checksum: sha256:…
//	    filename: bin/tool.tgz        # default: what the URL's path ends with
//	    auth: {bearer: {header: Authorization, value: "Bearer $TOKEN"}}
//	  - type: maven
//	    attributes: {repository_url: …, group_id: …, artifact_id: …, version: …}
//	    checksum: sha512:…
//	    auth: {basic: {username: $USER_NAME, password: $PASSWORD}}
type artifactReader struct {
	yamlReader
	version string
	inputs  []cache.Input
	targets map[string]int // line by place in the layout
	urls    map[string]int
}

// parseArtifacts reads data, the content of file.
func parseArtifacts(file string, data []byte) (inputs []cache.Input, r *artifactReader) {
	r = &artifactReader{targets: map[string]int{}, urls: map[string]int{}}
	r.file = file
	defer func() {
		switch spent := recover(); spent {
		case nil:
		case errSpent:
			inputs, r.problems, r.more = nil, nil, 0
			r.problem(0, "", errSpent.Error())
		default:
			panic(spent)
		}
	}()
	root := r.parse(data)
	if root == nil {
		return nil, r
	}
	top := r.mapping(root, "", "metadata", "artifacts")
	if top == nil || !r.metadata(root.Line, top["metadata"]) {
		return nil, r
	}
	if top["artifacts"] == nil {
		r.problem(root.Line, "", "no artifacts")
		return nil, r
	}
	for i, n := range r.list(top["artifacts"], "artifacts") {
		r.artifact(i+1, n)
	}
	return r.inputs, r
}

// metadata tells whether the file is of a version that can be read.
func (r *artifactReader) metadata(line int, n *yaml.Node) bool {
	if n == nil {
		r.problem(line, "", `no metadata: want metadata: {version: "1.0"}`)
		return false
	}
	fields := r.mapping(n, "metadata", "version")
	if fields == nil {
		return false
	}
	if fields["version"] == nil {
		r.problem(n.Line, "", `metadata: no version: want "1.0" or "2.0"`)
		return false
	}
	version, ok := r.text(fields["version"], "metadata.version")
	if ok && version != artifacts1 && version != artifacts2 {
		r.problem(fields["version"].Line, "", fmt.Sprintf(`metadata.version: %.80q: want "1.0" or "2.0"`, version))
		ok = false
	}
	r.version = version
	return ok
}

// artifact reads the n-th artifact.
func (r *artifactReader) artifact(n int, at *yaml.Node) {
	r.subject = fmt.Sprintf("artifact %d", n)
	before := len(r.problems) + r.more
	line := at.Line
	known := []string{"download_url", "filename", "checksum", "auth"}
	maven := r.has(at, "type", "attributes")
	if maven {
		known = []string{"type", "attributes", "filename", "checksum", "auth"}
	}
	fields := r.mapping(at, "", known...)
	if fields == nil {
		return
	}
	in := cache.Input{Ecosystem: "generic", Kind: kindFile, Need: cache.Required, Origin: cache.Origin{File: r.file, Line: line}}
	var file string
	var coordinates *packageurl.PackageURL
	if maven {
		in.URL, file, coordinates = r.maven(line, fields)
	} else {
		in.URL, file = r.download(line, fields["download_url"])
	}
	if fields["filename"] != nil {
		if given, ok := r.text(fields["filename"], "filename"); ok && given != "" {
			file = given
		}
	}
	if in.URL != "" {
		in.Path = r.target(line, file)
		in.Name = in.Path
	}
	if in.Path != "" {
		r.subject = in.Path
	}
	in.Sum = r.checksum(line, fields["checksum"])
	if fields["auth"] != nil {
		in.Auth = r.auth(fields["auth"], in.URL)
	}
	if len(r.problems)+r.more > before {
		return
	}
	if first, twice := r.urls[in.URL]; twice {
		r.problem(line, r.subject, fmt.Sprintf("the URL of the artifact at line %d", first))
		return
	}
	r.urls[in.URL] = line
	in.Component = fileComponent(in, coordinates)
	r.inputs = append(r.inputs, in)
}

// download reads the URL of a plain artifact, and what its path ends with.
func (r *artifactReader) download(line int, n *yaml.Node) (address, file string) {
	if n == nil {
		r.problem(line, r.subject, "no download_url")
		return "", ""
	}
	address, ok := r.text(n, "download_url")
	if !ok {
		return "", ""
	}
	u := r.url(n.Line, "download_url", address)
	if u == nil {
		return "", ""
	}
	file = path.Base(u.EscapedPath())
	if file == "/" || file == "." {
		return address, ""
	}
	file, _, _ = strings.Cut(file, ";") // parameters of a path (RFC 1808), which Hermeto cuts off
	return address, file
}

// url reads a URL that can be asked. Messages do not repeat it: it may hold a
// password.
func (r *artifactReader) url(line int, what, text string) *url.URL {
	u, err := url.Parse(text)
	cause := ""
	switch {
	case err != nil:
		cause = "not a URL"
	case u.Scheme != "https" && u.Scheme != "http":
		cause = "not a URL of https or http"
	case u.Hostname() == "":
		cause = "a URL without a host"
	case u.User != nil && r.version == artifacts1:
		cause = `a URL with credentials: put them into .netrc, or into "auth" of version "2.0"`
	case u.User != nil:
		cause = `a URL with credentials: put them into "auth"`
	default:
		return u
	}
	r.problem(line, r.subject, what+": "+cause)
	return nil
}

// Bounds of what file systems can name.
const (
	maxName = 255
	maxPath = 1024
)

// target is the place below deps/generic that a file name stands for.
func (r *artifactReader) target(line int, file string) string {
	clean := path.Clean(file)
	cause := ""
	switch {
	case file == "":
		cause = "the URL ends with no name of a file: give a filename"
	case path.IsAbs(file) || !filepath.IsLocal(filepath.FromSlash(file)):
		cause = fmt.Sprintf("filename %.80q: leaves deps/generic", file)
	case clean == ".":
		cause = fmt.Sprintf("filename %.80q: not the name of a file", file)
	case strings.ContainsFunc(file, unicode.IsControl):
		cause = fmt.Sprintf("filename %.80q: has a control character", file)
	case len(clean) > maxPath || slices.ContainsFunc(strings.Split(clean, "/"), func(s string) bool { return len(s) > maxName }):
		cause = fmt.Sprintf("filename %.80q: too long", file)
	case r.targets[clean] != 0:
		cause = fmt.Sprintf("filename %.80q: that of the artifact at line %d", clean, r.targets[clean])
	default:
		r.targets[clean] = line
		return clean
	}
	r.problem(line, r.subject, cause)
	return ""
}

// checksum reads "algorithm:hex".
func (r *artifactReader) checksum(line int, n *yaml.Node) cache.Sum {
	if n == nil {
		r.record(cache.NoSum, line, r.subject, "no checksum")
		return cache.Sum{}
	}
	text, ok := r.text(n, "checksum")
	if !ok {
		return cache.Sum{}
	}
	sum, err := cache.ParseSum(text)
	switch {
	case !strings.Contains(text, ":"):
		r.problem(n.Line, r.subject, fmt.Sprintf("checksum %.80q: want algorithm:hex", text))
	case err != nil:
		r.problem(n.Line, r.subject, err.Error())
	case !slices.Contains(fileSums, sum.Algorithm()) || strings.Contains(strings.SplitN(text, ":", 2)[0], "-"):
		r.problem(n.Line, r.subject, fmt.Sprintf("checksum %.80q: want algorithm:hex", text))
	case sum.Algorithm().Weak():
		r.warn(n.Line, r.subject, fmt.Sprintf("checksum: %s does not tell two contents apart that are made to have the same; write sha256", sum.Algorithm()))
		return sum
	default:
		return sum
	}
	return cache.Sum{}
}

// headerName matches what HTTP takes as the name of a header (RFC 9110, 5.6.2).
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// ownHeaders are the headers that a request has of its own.
var ownHeaders = []string{"accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "range", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"}

// auth reads the credential that the artifact at address asks for.
func (r *artifactReader) auth(n *yaml.Node, address string) *cache.Auth {
	if r.version == artifacts1 {
		r.problem(n.Line, r.subject, `auth: only in version "2.0"`)
		return nil
	}
	kinds := r.mapping(n, "auth", "basic", "bearer")
	if kinds == nil {
		return nil
	}
	if len(kinds) != 1 {
		r.problem(n.Line, r.subject, "auth: want either basic or bearer")
		return nil
	}
	var a cache.Auth
	if basic := kinds["basic"]; basic != nil {
		fields := r.mapping(basic, "auth.basic", "username", "password")
		a.User = r.required(n.Line, "auth.basic", "username", fields)
		a.Secret = r.required(n.Line, "auth.basic", "password", fields)
	} else {
		fields := r.mapping(kinds["bearer"], "auth.bearer", "header", "value")
		a.Header = "Authorization"
		if fields["header"] != nil {
			a.Header, _ = r.text(fields["header"], "auth.bearer.header")
			if !headerName.MatchString(a.Header) || slices.Contains(ownHeaders, strings.ToLower(a.Header)) {
				r.problem(fields["header"].Line, r.subject, fmt.Sprintf("auth.bearer.header: %.80q: not a header that can be set", a.Header))
			}
		}
		a.Secret = r.required(n.Line, "auth.bearer", "value", fields)
	}
	if u, err := url.Parse(address); address != "" && err == nil && !cache.Private(u) {
		r.problem(n.Line, r.subject, "auth: credentials would travel over plain http")
	}
	if a.Secret != "" && a.Literal() {
		r.warn(n.Line, r.subject, "auth: the secret is written out; name a variable of the environment, $NAME, in its place")
	}
	return &a
}

// required is a field that must be there and hold something.
func (r *artifactReader) required(line int, what, name string, fields map[string]*yaml.Node) string {
	if fields == nil {
		return "" // there is a problem already
	}
	n := fields[name]
	if n == nil {
		r.problem(line, r.subject, what+": no "+name)
		return ""
	}
	text, ok := r.text(n, what+"."+name)
	if ok && text == "" {
		r.problem(n.Line, r.subject, what+"."+name+": empty")
	}
	return text
}

// packaging maps types of Maven to extensions of files, where these differ
// (https://maven.apache.org/ref/current/maven-core/artifact-handlers.html).
var packaging = map[string]string{
	"ejb": "jar", "ejb-client": "jar", "java-source": "jar", "javadoc": "jar", "javadoc-source": "jar", "maven-plugin": "jar", "test-jar": "jar",
}

// mavenWord matches parts of Maven coordinates that are safe in a URL and a
// path.
var mavenWord = regexp.MustCompile(`^[A-Za-z0-9_+~-][A-Za-z0-9._+~-]*$`)

// maven reads an artifact of a Maven repository.
func (r *artifactReader) maven(line int, fields map[string]*yaml.Node) (address, file string, purl *packageurl.PackageURL) {
	if fields["type"] == nil {
		r.problem(line, r.subject, "attributes: only of type maven")
	} else if kind, ok := r.text(fields["type"], "type"); ok && kind != "maven" {
		r.problem(fields["type"].Line, r.subject, fmt.Sprintf("type: %.80q: want maven", kind))
		return "", "", nil
	}
	if fields["attributes"] == nil {
		r.problem(line, r.subject, "no attributes")
		return "", "", nil
	}
	given := r.mapping(fields["attributes"], "attributes", "repository_url", "group_id", "artifact_id", "version", "type", "classifier")
	if given == nil {
		return "", "", nil
	}
	before := len(r.problems) + r.more
	at := fields["attributes"].Line
	repository := r.required(at, "attributes", "repository_url", given)
	group := r.coordinate(given["group_id"], "group_id", r.required(at, "attributes", "group_id", given))
	artifact := r.coordinate(given["artifact_id"], "artifact_id", r.required(at, "attributes", "artifact_id", given))
	version := r.coordinate(given["version"], "version", r.required(at, "attributes", "version", given))
	extension, classifier := "jar", ""
	if given["type"] != nil {
		extension = r.coordinate(given["type"], "type", r.required(at, "attributes", "type", given))
	}
	if given["classifier"] != nil {
		classifier, _ = r.text(given["classifier"], "attributes.classifier")
		r.coordinate(given["classifier"], "classifier", classifier)
	}
	if len(r.problems)+r.more > before {
		return "", "", nil
	}
	base := r.url(given["repository_url"].Line, "attributes.repository_url", repository)
	if base == nil {
		return "", "", nil
	}
	if base.RawQuery != "" || base.Fragment != "" {
		r.problem(given["repository_url"].Line, r.subject, "attributes.repository_url: a URL with more than a path")
		return "", "", nil
	}
	purl = packageurl.NewPackageURL("maven", group, artifact, version,
		qualifiers("type", extension, "classifier", classifier, "repository_url", withoutLogin(repository)), "")
	if e, ok := packaging[extension]; ok {
		extension = e
	}
	file = artifact + "-" + version
	if classifier != "" {
		file += "-" + classifier
	}
	file += "." + extension
	below := strings.ReplaceAll(group, ".", "/") + "/" + artifact + "/" + version + "/" + file
	return strings.TrimSuffix(repository, "/") + "/" + below, file, purl
}

// coordinate is v, a part of Maven coordinates, or a problem.
func (r *artifactReader) coordinate(n *yaml.Node, name, v string) string {
	if v != "" && (!mavenWord.MatchString(v) || name == "group_id" && strings.Contains(v+".", "..")) {
		r.problem(n.Line, r.subject, fmt.Sprintf("attributes.%s: %.80q: not a part of Maven coordinates", name, v))
	}
	return v
}
