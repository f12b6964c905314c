package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// npmProject is what TestNpm installs: hundreds of packages, some with programs
// of one platform, some with scripts of their own.
const npmProject = `{
  "name": "many",
  "version": "1.0.0",
  "private": true,
  "dependencies": {"express": "^4.21.0", "lodash": "^4.17.21", "react": "^18.3.0", "react-dom": "^18.3.0"},
  "devDependencies": {
    "@babel/core": "^7.26.0", "@babel/preset-env": "^7.26.0", "esbuild": "^0.25.0", "eslint": "^8.57.0", "jest": "^29.7.0",
    "typescript": "^5.7.0", "webpack": "^5.97.0", "webpack-cli": "^5.1.0", "webpack-dev-server": "^5.2.0"
  }
}
`

// An npmRegistry has packages on loopback: what npm calls packuments at
// /<name>, and archives at /<name>/-/<file>.
type npmRegistry struct {
	url        string
	packages   map[string]map[string]any // manifests by name and version
	archives   map[string][]byte         // by path
	otherwhere func(path string) ([]byte, bool)
}

func newNpmRegistry(t *testing.T) *npmRegistry {
	t.Helper()
	n := &npmRegistry{packages: map[string]map[string]any{}, archives: map[string][]byte{}}
	server := httptest.NewServer(n)
	t.Cleanup(server.Close)
	n.url = server.URL
	return n
}

func (n *npmRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if data, ok := n.archives[r.URL.Path]; ok {
		w.Write(data)
		return
	}
	if versions, ok := n.packages[strings.TrimPrefix(r.URL.Path, "/")]; ok {
		json.NewEncoder(w).Encode(map[string]any{"name": r.URL.Path[1:], "dist-tags": map[string]string{"latest": slices.Max(slices.Collect(maps.Keys(versions)))}, "versions": versions})
		return
	}
	if n.otherwhere != nil {
		if data, ok := n.otherwhere(r.URL.Path); ok {
			w.Write(data)
			return
		}
	}
	http.NotFound(w, r)
}

// npmTarball is the archive of a package: its package.json and more files, as
// pairs of names and texts.
func npmTarball(t *testing.T, manifest map[string]any, more ...string) []byte {
	t.Helper()
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	name, _ := manifest["name"].(string)
	version, _ := manifest["version"].(string)
	files := append([]string{"package.json", string(text), "index.js", fmt.Sprintf("module.exports = %q\n", name+"@"+version)}, more...)
	for i := 0; i+1 < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: "package/" + files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, files[i+1])
	}
	w.Close()
	z.Close()
	return b.Bytes()
}

// add publishes a package, given as its package.json without what all have.
func (n *npmRegistry) add(t *testing.T, name, version, manifest string, more ...string) (sri string) {
	t.Helper()
	m := map[string]any{"name": name, "version": version}
	if err := json.Unmarshal([]byte("{"+manifest+"}"), &m); err != nil {
		t.Fatal(err)
	}
	data := npmTarball(t, m, more...)
	at := "/" + name + "/-/" + path.Base(name) + "-" + version + ".tgz"
	n.archives[at] = data
	digest := sha512.Sum512(data)
	sri = "sha512-" + base64.StdEncoding.EncodeToString(digest[:])
	m["dist"] = map[string]string{"tarball": n.url + at, "integrity": sri}
	m["_hasShrinkwrap"] = slices.Contains(more, "npm-shrinkwrap.json")
	if n.packages[name] == nil {
		n.packages[name] = map[string]any{}
	}
	n.packages[name][version] = m
	return sri
}

// npm runs this machine's npm in dir, with nothing of its settings but those
// given.
func npm(t *testing.T, dir string, settings []string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "npm", args...)
	cmd.Dir = dir
	cmd.Env = append(world.Env(), settings...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm %v: %v\n%s", args, err, out)
	}
}

// needsNode ends a test that this machine's node would be a part of.
func needsNode(t *testing.T) {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs node and npm on this machine: %v", err)
		}
	}
}

// node is the image of that name, made of this machine's node.
func node(t *testing.T) string {
	t.Helper()
	needsNode(t)
	image, err := world.Image(t.Context(), "node")
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// lockedNpm is a project that this machine's npm locked and fetched once, from
// wherever it has packages from, and a registry of its archives.
func lockedNpm(t *testing.T, project string) (lock string, registry *npmRegistry) {
	t.Helper()
	needsNode(t)
	digest := sha512.Sum512([]byte(project))
	dir := filepath.Join(filepath.Dir(filepath.Dir(world.Bin("buildx"))), "npm", hex.EncodeToString(digest[:8]))
	if _, err := os.Stat(dir); err != nil {
		fresh := dir + ".new"
		if err := os.RemoveAll(fresh); err != nil {
			t.Fatal(err)
		}
		write(t, fresh, "-- package.json --\n"+project)
		npm(t, fresh, []string{"npm_config_omit_lockfile_registry_resolved=true"}, "install", "--package-lock-only", "--no-audit")
		npm(t, fresh, nil, "ci", "--ignore-scripts", "--no-audit", "--cache="+filepath.Join(fresh, "cache"))
		if err := os.RemoveAll(filepath.Join(fresh, "node_modules")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(fresh, dir); err != nil {
			t.Fatal(err)
		}
	}
	lock = read(t, dir, "package-lock.json")
	var parsed struct {
		Packages map[string]struct{ Name, Version, Integrity, Resolved string }
	}
	if err := json.Unmarshal([]byte(lock), &parsed); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for at, p := range parsed.Packages {
		sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(p.Integrity, "sha512-"))
		if at == "" || err != nil || p.Resolved != "" {
			continue
		}
		name := p.Name
		if name == "" {
			name = at[strings.LastIndex(at, "node_modules/")+len("node_modules/"):]
		}
		digits := hex.EncodeToString(sum)
		files["/"+name+"/-/"+path.Base(name)+"-"+p.Version+".tgz"] = filepath.Join(dir, "cache", "_cacache", "content-v2", "sha512", digits[:2], digits[2:4], digits[4:])
	}
	registry = newNpmRegistry(t)
	registry.otherwhere = func(path string) ([]byte, bool) {
		data, err := os.ReadFile(files[path])
		return data, err == nil
	}
	return lock, registry
}

// TestNpm installs hundreds of packages, sealed, from a lockfile that names no
// host.
func TestNpm(t *testing.T) {
	lock, registry := lockedNpm(t, npmProject)
	dir := project(t, strings.ReplaceAll(`
-- Dockerfile --
FROM {node} AS b
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci && npm ls --all --parseable | wc -l >/count
COPY index.js ./
RUN node index.js >/said && npx esbuild --bundle --platform=node index.js --external:esbuild --external:lodash | wc -c >>/said
FROM scratch
COPY --from=b /said /count /src/package-lock.json /
-- index.js --
const esbuild = require("esbuild")
console.log(require("lodash").capitalize("sealed"), esbuild.transformSync("let a: number = 1", {loader: "ts"}).code)
-- package.json --
`, "{node}", node(t))+npmProject+"-- package-lock.json --\n"+lock)
	store, mirror := "--store="+t.TempDir(), "--mirror=npm="+registry.url
	for name, deps := range map[string]string{
		"view": prefetch(t, nil, store, mirror, dir),
		"tree": prefetch(t, nil, store, mirror, "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree"), dir),
	} {
		t.Run(name, func(t *testing.T) {
			out, _ := files(t, dir, with(deps))
			contains(t, "the program", read(t, out, "said"), "Sealed let a = 1;\n")
			var n int
			if _, err := fmt.Sscan(read(t, out, "count"), &n); err != nil || n < 400 {
				t.Errorf("%d packages installed, %v; want 400 and more", n, err)
			}
			contains(t, "the lockfile in the image", read(t, out, "package-lock.json"), `"resolved": "file:///cachi2/output/deps/npm/lodash-4.`)
		})
	}
	if got := read(t, dir, "package-lock.json"); got != lock {
		t.Error("the lockfile of the user has changed")
	}
	t.Run("another platform of the build", func(t *testing.T) {
		deps := prefetch(t, nil, store, mirror, dir)
		got := build(t, dir, with(deps), "--platform=linux/arm64").failed(t)
		contains(t, "the error", got, "MissingInput: ", "package-lock.json:", ": @esbuild/linux-arm64@0.25.", ": not in the cache")
	})
}

// oddPackages are of every kind that a lockfile can name.
func oddPackages(t *testing.T) (registry *npmRegistry, git *gitServer) {
	t.Helper()
	registry, git = newNpmRegistry(t), newGitServer(t)
	git.add(t, "group/gitp", "-- package.json --\n{\"name\": \"gitp\", \"version\": \"2.0.0\"}\n-- index.js --\nmodule.exports = 'gitp@2.0.0'\n")
	sri := registry.add(t, "b", "1.0.0", "")
	registry.add(t, "b", "1.1.0", "")
	registry.add(t, "a", "1.0.0", `"dependencies": {"b": "^1.0.0"}`)
	registry.add(t, "@s/x", "1.0.0", "")
	registry.add(t, "s-x", "1.0.0", "")
	registry.add(t, "inner", "1.0.0", "")
	registry.add(t, "wrap", "1.0.0", `"dependencies": {"b": "^1.0.0"}`, "npm-shrinkwrap.json", fmt.Sprintf(
		`{"name": "wrap", "version": "1.0.0", "lockfileVersion": 1, "requires": true, "dependencies": {"b": {"version": "1.0.0", "resolved": "%s/b/-/b-1.0.0.tgz", "integrity": %q}}}`, registry.url, sri))
	registry.add(t, "bundler", "1.0.0", `"dependencies": {"inner": "1"}, "bundleDependencies": ["inner"]`,
		"node_modules/inner/package.json", `{"name": "inner", "version": "1.0.0"}`, "node_modules/inner/index.js", "module.exports = 'bundled'\n")
	registry.add(t, "opt-linux-x64", "1.0.0", `"os": ["linux"], "cpu": ["x64"]`)
	registry.add(t, "opt-darwin-arm64", "1.0.0", `"os": ["darwin"], "cpu": ["arm64"]`)
	registry.add(t, "opt", "1.0.0", `"optionalDependencies": {"opt-linux-x64": "1.0.0", "opt-darwin-arm64": "1.0.0"}`)
	registry.archives["/files/remote.tgz"] = npmTarball(t, map[string]any{"name": "remote", "version": "3.0.0-beta.1", "dependencies": map[string]string{"b": "1"}})
	registry.add(t, "transit", "1.0.0", fmt.Sprintf(`"dependencies": {"remote": "%s/files/remote.tgz", "gitp": "git+%s/group/gitp#main"}`, registry.url, git.url))
	return registry, git
}

// oddProject is a project with all of them, and what it says when it runs.
const oddProject = `
-- Dockerfile --
FROM {node} AS b
WORKDIR /src
COPY . .
RUN npm {command}
RUN node all.js >/said && test ! -e node_modules/opt-darwin-arm64
FROM scratch
COPY --from=b /said /
-- all.js --
for (const name of NAMES) {
  console.log(name, require(name))
}
console.log(require("./node_modules/wrap/node_modules/b"), require("./node_modules/bundler/node_modules/inner"))
`

// TestNpmFormats installs packages of every kind from lockfiles of each format.
func TestNpmFormats(t *testing.T) {
	registry, git := oddPackages(t)
	plain := `"a": "^1", "@s/x": "1", "s-x": "1", "wrap": "1", "bundler": "1", "opt": "1", "bee": "npm:b@1.0.0", "lib": "file:lib"`
	byURL := fmt.Sprintf(`, "transit": "1", "direct": "%s/files/remote.tgz", "dg": "git+%s/group/gitp"`, registry.url, git.url)
	all := `["a", "b", "@s/x", "s-x", "bee", "lib", "opt", "opt-linux-x64", "w1", "transit", "remote", "gitp", "direct", "dg"]`
	said := "a a@1.0.0\nb b@1.1.0\n@s/x @s/x@1.0.0\ns-x s-x@1.0.0\nbee b@1.0.0\nlib lib and inner@1.0.0\nopt opt@1.0.0\nopt-linux-x64 opt-linux-x64@1.0.0\n"
	saidByURL := "w1 w1 and b@1.0.0\ntransit transit@1.0.0\nremote remote@3.0.0-beta.1\ngitp gitp@2.0.0\ndirect remote@3.0.0-beta.1\ndg gitp@2.0.0\n"
	local := "-- lib/package.json --\n{\"name\": \"lib\", \"version\": \"1.0.0\", \"dependencies\": {\"inner\": \"1\"}}\n-- lib/index.js --\nmodule.exports = 'lib and ' + require('inner')\n"
	workspace := fmt.Sprintf("-- packages/w1/package.json --\n{\"name\": \"w1\", \"version\": \"1.0.0\", \"dependencies\": {\"b\": \"1.0.0\", \"dg\": \"git+%s/group/gitp#main\"}}\n-- packages/w1/index.js --\nmodule.exports = 'w1 and ' + require('b')\n", git.url)
	for _, test := range []struct{ name, format, command, manifest, files, names, want string }{
		{"the third", "3", "ci", `"workspaces": ["packages/*"], "dependencies": {` + plain + byURL + `}`, local + workspace, all, said + saidByURL},
		{"the second", "2", "ci --offline", `"workspaces": ["packages/*"], "dependencies": {` + plain + byURL + `}`, local + workspace, all, said + saidByURL},
		{"the first", "1", "ci", `"dependencies": {` + plain + `}`, local, `["a", "b", "@s/x", "s-x", "bee", "lib", "opt", "opt-linux-x64"]`, said},
		{"the first with URLs", "1", "install", `"dependencies": {` + plain + byURL + `}`, local,
			`["a", "b", "@s/x", "s-x", "bee", "lib", "opt", "opt-linux-x64", "transit", "remote", "gitp", "direct", "dg"]`, said + strings.TrimPrefix(saidByURL, "w1 w1 and b@1.0.0\n")},
	} {
		t.Run(test.name, func(t *testing.T) {
			archive := strings.NewReplacer("{node}", node(t), "{command}", test.command, "NAMES", test.names).Replace(oddProject)
			dir := project(t, archive+test.files+"-- package.json --\n{\"name\": \"odd\", \"version\": \"1.0.0\", "+test.manifest+"}\n")
			settings := []string{"npm_config_registry=" + registry.url, "npm_config_omit_lockfile_registry_resolved=false", "npm_config_userconfig=" + filepath.Join(t.TempDir(), "none")}
			npm(t, dir, settings, "install", "--package-lock-only", "--lockfile-version="+test.format, "--no-audit", "--cache="+t.TempDir())
			deps := prefetch(t, []string{"npm_config_registry=" + registry.url}, "--store="+t.TempDir(), dir)
			out, _ := files(t, dir, with(deps))
			if got, want := read(t, out, "said"), test.want+"b@1.0.0 bundled\n"; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestNpmLockLacksPlatform: npm's lockfile of a project that was installed on
// another machine is told before a step runs.
func TestNpmLockLacksPlatform(t *testing.T) {
	registry := newNpmRegistry(t)
	native := registry.add(t, "@n/linux-x64", "1.0.0", `"os": ["linux"], "cpu": ["x64"]`)
	sri := registry.add(t, "native", "1.0.0", `"optionalDependencies": {"@n/linux-x64": "1.0.0", "@n/linux-arm64": "1.0.0"}`)
	dir := project(t, fmt.Sprintf(`
-- Dockerfile --
FROM %s
RUN touch /started
-- package.json --
{"dependencies": {"native": "1"}}
-- package-lock.json --
{
  "lockfileVersion": 3,
  "packages": {
    "": {"dependencies": {"native": "1"}},
    "node_modules/@n/linux-x64": {"version": "1.0.0", "integrity": %q, "optional": true, "os": ["linux"], "cpu": ["x64"]},
    "node_modules/native": {
      "version": "1.0.0", "integrity": %q,
      "optionalDependencies": {"@n/linux-x64": "1.0.0", "@n/linux-arm64": "1.0.0"}
    }
  }
}
`, images.busybox, native, sri))
	deps := prefetch(t, nil, "--store="+t.TempDir(), "--mirror=npm="+registry.url, dir)
	files(t, dir, with(deps))
	found, r := steps(t, dir, with(deps), "--platform=linux/arm64")
	r.says(t, "PlatformNotCovered: ", "package-lock.json:6: native@1.0.0: for linux/arm64 it takes @n/linux-arm64, which the lockfile lacks")
	if ran := ran(found); len(ran) > 0 {
		t.Errorf("steps ran: %q", ran)
	}
	u, _ := url.Parse(registry.url)
	r = run(t, nil, "prefetch", "--store="+t.TempDir(), "--mirror=npm=http://"+u.Hostname()+":1", dir)
	r.says(t, "package-lock.json:5: @n/linux-x64@1.0.0 and 1 more: ", "connection refused")
}
