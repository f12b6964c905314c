package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
)

// cached tells of the RUN step whose text contains word whether its result came
// from the cache.
func cached(t *testing.T, found map[string]client.Vertex, word string) bool {
	t.Helper()
	for name, v := range found {
		if strings.Contains(name, "] RUN ") && strings.Contains(name, word) {
			return v.Cached
		}
	}
	t.Fatalf("no step %q", word)
	return false
}

// afresh is a Dockerfile whose steps no earlier run of the test has left in the
// builder's cache.
func afresh(dockerfile string) string {
	return regexp.MustCompile(`(?m)^FROM .*$`).ReplaceAllString(dockerfile, "$0\nENV RUN_OF="+strconv.FormatInt(time.Now().UnixNano(), 36))
}

// A RUN gets what its command uses: one package manager's tree and variables,
// none at all, or everything where nobody can tell. Another package type's
// lockfile, when it changes, leaves its layer in the cache.
func TestLeastMounts(t *testing.T) {
	m := newMirror(t)
	m.add(t, full("m1"), "-- m1.go --\npackage m1\n\nconst Name = \"m1\"\n")
	url := newFileServer(t)
	registry := newNpmRegistry(t)
	registry.add(t, "left", "1.0.0", "")
	env := append(m.env(), "GENERIC_TOKEN=s3cret", "npm_config_registry="+registry.url)
	store := "--store=" + t.TempDir()
	for _, form := range []string{"view", "tree"} {
		t.Run(form, func(t *testing.T) {
			own := full(form) // a module, and a file, that the other form does not have
			m.add(t, own, "-- x.go --\npackage x\n")
			dir := project(t, afresh(leastMounts)+"-- go.mod --\n"+require(full("m1"))+"-- go.sum --\n"+m.goSum(full("m1"))+
				"-- artifacts.lock.yaml --\n"+artifactsLock(url)+packageLock(registry, "left"))
			deps := func() string {
				args := []string{store}
				if form == "tree" {
					args = append(args, "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree"))
				}
				return with(prefetch(t, env, append(args, dir)...))
			}
			changed := func(what string, want map[string]bool) {
				t.Helper()
				found, r := steps(t, dir, deps())
				r.passed(t)
				for word, want := range want {
					if got := cached(t, found, word); got != want {
						t.Errorf("another %s: %q cached: %v", what, word, got)
					}
				}
			}
			out, _ := files(t, dir, deps())
			if got := read(t, out, "plain"); strings.Contains(got, "cachi2") || !strings.HasSuffix(got, "[]\n") {
				t.Errorf("a step that copies files sees\n%s", got)
			}
			if got := read(t, out, "tool.sh"); got != string(genericFiles["/tool.sh"]) {
				t.Errorf("the tool is %q", got)
			}
			contains(t, "what a script sees", read(t, out, "all"), "cachi2.env\noutput\n", "generic\ngomod\nnpm\n", "tool.sh\n", "left-1.0.0.tgz\n", "pkg\n", "GOPROXY=file:///cachi2/")

			// Other files of type generic, and other lines for each of them.
			lock := strings.Replace(artifactsLock(url), "filename: data/large", "filename: large-"+form, 1)
			write(t, dir, "-- artifacts.lock.yaml --\n# changed\n"+lock)
			changed("artifacts.lock.yaml", map[string]bool{"go build": true, "ls /": true, "deps/generic": false, "deps/npm": true, "all.sh": false})
			// Another package of npm.
			registry.add(t, "right-"+form, "1.0.0", "")
			write(t, dir, packageLock(registry, "left", "right-"+form))
			changed("package-lock.json", map[string]bool{"go build": true, "ls /": true, "deps/generic": true, "deps/npm": false, "all.sh": false})
			// A line of go.sum that moves no file.
			sums := strings.SplitAfter(m.goSum(full("m1")), "\n")
			write(t, dir, "-- go.sum --\n"+sums[1]+sums[0])
			changed("order of go.sum", map[string]bool{"go build": true, "ls /": true, "deps/generic": true, "deps/npm": true, "all.sh": true})
			// One more module.
			write(t, dir, "-- go.sum --\n"+m.goSum(full("m1"), own))
			changed("go.sum", map[string]bool{"go build": false, "ls /": true, "deps/generic": true, "deps/npm": true, "all.sh": false})
		})
	}
}

// packageLock is a project of npm in a directory of its own, with packages of
// version 1.0.0.
func packageLock(n *npmRegistry, names ...string) string {
	wants := map[string]string{}
	packages := map[string]any{"": map[string]any{"name": "web", "version": "1.0.0", "dependencies": wants}}
	for _, name := range names {
		wants[name] = "1.0.0"
		dist := n.packages[name]["1.0.0"].(map[string]any)["dist"].(map[string]string)
		packages["node_modules/"+name] = map[string]any{"version": "1.0.0", "resolved": dist["tarball"], "integrity": dist["integrity"]}
	}
	text := func(v map[string]any) string {
		data, _ := json.Marshal(v) // of strings and maps
		return string(data) + "\n"
	}
	return "-- web/package.json --\n" + text(packages[""].(map[string]any)) +
		"-- web/package-lock.json --\n" + text(map[string]any{"name": "web", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": packages})
}

// leastMounts has stages that do not stand on one another.
const leastMounts = `
-- Dockerfile --
FROM {golang} AS go
WORKDIR /src
COPY go.mod main.go ./
RUN go build -mod=mod -o /app .
FROM {busybox} AS plain
RUN ls / >/plain && echo "[$GOFLAGS]" >>/plain
FROM {busybox} AS generic
RUN cp /cachi2/output/deps/generic/tool.sh /tool.sh
FROM {busybox} AS npm
RUN cp /cachi2/output/deps/npm/left-1.0.0.tgz /left
FROM {busybox} AS all
COPY all.sh /
RUN sh /all.sh >/all
FROM {busybox}
COPY --from=go /app /
COPY --from=plain /plain /
COPY --from=generic /tool.sh /
COPY --from=npm /left /
COPY --from=all /all /
RUN /app
-- all.sh --
ls /cachi2 /cachi2/output/deps /cachi2/output/deps/*
env | grep GOPROXY
-- main.go --
package main

import "example.com/m1"

func main() { println(m1.Name) }
`

// What one step compiles the next one finds, in the stage and in those that begin
// with it, whatever stands between. Others do not.
func TestCarriedWrites(t *testing.T) {
	m := newMirror(t)
	m.add(t, full("m1"), "-- m1.go --\npackage m1\n\nconst Name = \"m1\"\n")
	dockerfile := `
-- Dockerfile --
FROM {golang} AS modules
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download && ls "$GOMODCACHE" >/one
FROM modules AS build
COPY . .
RUN go build -x -o /app . 2>/two
RUN id >/ids
COPY --link extra /extra
RUN go build -x -o /app2 . 2>/three && go vet ./...
RUN go test -x ./... >/four 2>&1
FROM modules AS fork
COPY . .
RUN go build -x -o /app . 2>/five
FROM {golang} AS stranger
WORKDIR /src
COPY --from=build /src .
RUN ls -R "$GOCACHE" | grep -c -- '-[ad]$' >/six || true
FROM build AS user
USER user
RUN go build -x -o /tmp/app . 2>/tmp/seven
RUN go build -x -o /tmp/app . 2>/tmp/eight
FROM {busybox}
COPY --from=build /one /two /three /four /
COPY --from=fork /five /
COPY --from=stranger /six /
COPY --from=user /tmp/seven /tmp/eight /
-- extra --
-- main.go --
package main

import "example.com/m1"

func main() { println(m1.Name) }
-- main_test.go --
package main

import "testing"

func TestMain(t *testing.T) {}
-- go.mod --
`
	dockerfile = afresh(strings.Replace(dockerfile, "func TestMain(t", "func TestIt(t", 1))
	dir := project(t, dockerfile+require(full("m1"))+"-- go.sum --\n"+m.goSum(full("m1")))
	deps := m.prefetch(t, dir)
	out, _ := files(t, dir, with(deps), "--no-cache")
	contains(t, "the module cache after the download", read(t, out, "one"), "example.com\n")
	for name, want := range map[string]bool{
		"two": true, "three": false, "four": false, "five": true, "seven": true, "eight": false,
	} {
		if got := strings.Contains(read(t, out, name), "-p example.com/m1"); got != want {
			t.Errorf("step %s compiles the module: %v\n%s", name, got, read(t, out, name))
		}
	}
	if got := read(t, out, "six"); got != "0\n" {
		t.Errorf("a stage of its own finds %q files of a build cache", got)
	}
	t.Run("cached", func(t *testing.T) {
		found, r := steps(t, dir, with(deps))
		r.passed(t)
		if names := ran(found); !allCached(found, names) {
			t.Errorf("not from the cache: %q", names)
		}
		// A change after the second step is none for those before it.
		if err := os.WriteFile(filepath.Join(dir, "extra"), []byte("more"), 0o644); err != nil {
			t.Fatal(err)
		}
		write(t, dir, strings.ReplaceAll(strings.Split(dockerfile, "-- extra --")[0], "COPY . .", "COPY *.go ./"))
		found, r = steps(t, dir, with(deps), "--target=build")
		r.passed(t)
		for word, want := range map[string]bool{"go mod download": true, "three": false, "four": false} {
			if got := cached(t, found, word); got != want {
				t.Errorf("%q cached: %v", word, got)
			}
		}
	})
	t.Run("not in the image", func(t *testing.T) {
		write(t, dir, "-- Dockerfile --\nFROM {golang} AS b\nWORKDIR /src\nCOPY . .\nRUN go build -o /app . && touch \"$GOCACHE/mine\"\nRUN test -e \"$GOCACHE/mine\"\nFROM scratch\nCOPY --from=b /cachi2 /stolen\n")
		contains(t, "the error", build(t, dir, with(deps)).failed(t), `"/cachi2": not found`)
	})
	t.Run("one filtered", func(t *testing.T) {
		write(t, dir, "-- Dockerfile --\nFROM {golang} AS a\nWORKDIR /src\nCOPY go.mod go.sum *.go ./\nRUN go build -o /app .\nFROM a AS b\nRUN go build -x -o /app2 . 2>/log\nFROM scratch\nCOPY --from=b /log /\n")
		for i := range 2 {
			out, _ := files(t, dir, with(deps), "--no-cache-filter=b")
			if got := read(t, out, "log"); strings.Contains(got, "-p example.com/m1") {
				t.Errorf("build %d compiles again:\n%s", i, got)
			}
		}
	})
	t.Run("a step more", func(t *testing.T) {
		text := fmt.Sprintf("-- Dockerfile --\nFROM {golang}\nWORKDIR /src\nCOPY go.mod go.sum *.go ./\nRUN go build -o /app%d .\n", os.Getpid())
		write(t, dir, text)
		build(t, dir, with(deps)).passed(t)
		write(t, dir, text+"RUN go build -x -o /next . 2>/log && ! grep -e '-p example.com/m1' /log\n")
		build(t, dir, with(deps)).passed(t)
		found, r := steps(t, dir, with(deps))
		r.passed(t)
		if names := ran(found); !allCached(found, names) {
			t.Errorf("not from the cache: %q", names)
		}
	})
}

func allCached(found map[string]client.Vertex, names []string) bool {
	for _, n := range names {
		if !found[n].Cached {
			return false
		}
	}
	return true
}
