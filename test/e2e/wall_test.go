package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/frontend/subrequests/convertllb"

	"github.com/hermetic-build/hermetic/cache"
)

// linted is a Dockerfile that upstream's linter and we have something to say of.
const linted = `
-- Dockerfile --
DIRECTIVE
FROM {busybox} AS base
maintainer nobody
FROM base
RUN --network=host true
RUN --mount=type=cache,target=/c \
	true
ERROR
`

// TestCheckShowsTheRules: "buildx build --check" has our findings among those of
// upstream's linter, each under its lines, and obeys the same directives.
func TestCheckShowsTheRules(t *testing.T) {
	const secure = "RUN --security=insecure true"
	for name, c := range map[string]struct {
		directive, last string
		says, lacks     []string
		clean           bool // nothing is found
	}{
		"all": {
			directive: "# comment",
			says: []string{
				"WARNING: MaintainerDeprecated - ", "/Dockerfile:3\n", "   3 | >>> maintainer nobody",
				"WARNING: RunNetwork - https://github.com/hermetic-build/hermetic/blob/main/docs/rules/RunNetwork.md\n",
				"Dockerfile:5: RUN --network=host: sealed all the same\n", "/Dockerfile:5\n", "   5 | >>> RUN --network=host true",
				"WARNING: CacheMount - ", "/Dockerfile:6\n", "   6 | >>> RUN --mount=type=cache,target=/c \\\n   7 | >>> \ttrue",
			},
		},
		"one of ours skipped": {
			directive: "# check=skip=RunNetwork",
			says:      []string{"WARNING: MaintainerDeprecated - ", "WARNING: CacheMount - "},
			lacks:     []string{"WARNING: RunNetwork"},
		},
		"all skipped": {
			directive: "# check=skip=all", clean: true,
			says:  []string{"Check complete, no warnings found"},
			lacks: []string{"RunNetwork", "CacheMount", "Maintainer"},
		},
		"an error cannot be skipped": {
			directive: "# check=skip=all", last: secure,
			says:  []string{"SecurityInsecure", "   8 | >>> " + secure},
			lacks: []string{"RunNetwork", "CacheMount"},
		},
		"warnings are errors": {
			directive: "# check=error=true",
			says:      []string{"RunNetwork", "CacheMount"},
		},
		"an error": {
			directive: "# comment", last: secure,
			says: []string{"WARNING: RunNetwork - ", "SecurityInsecure", "   8 | >>> " + secure, "these rules stop the build: SecurityInsecure"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := project(t, strings.NewReplacer("DIRECTIVE", c.directive, "ERROR\n", c.last+"\n").Replace(linted))
			r := build(t, dir, "--check")
			if (r.err == nil) != c.clean {
				t.Errorf("ended with %v", r.err)
			}
			r.says(t, c.says...)
			for _, word := range c.lacks {
				if strings.Contains(r.log, word) {
					t.Errorf("says %s:\n%s", word, r.log)
				}
			}
		})
	}
}

// TestDirectivesInABuild: what --check leaves out a build leaves out, and what
// are errors there stops it.
func TestDirectivesInABuild(t *testing.T) {
	text := "\nFROM {busybox}\nRUN --network=host true\nRUN --mount=type=cache,target=/c true\n"
	r := build(t, project(t, "-- Dockerfile --\n# check=skip=RunNetwork"+text)).passed(t)
	r.says(t, "CacheMount: Dockerfile:4: /c: private and empty")
	if strings.Contains(r.log, "RunNetwork: ") {
		t.Errorf("says RunNetwork\n%s", r.log)
	}
	found, r := steps(t, project(t, "-- Dockerfile --\n# check=error=true"+text))
	contains(t, "the error", r.failed(t), "RunNetwork: 1 ", "Dockerfile:3: ", "CacheMount: 1 ", "Dockerfile:4: ")
	if names := ran(found); len(names) > 0 {
		t.Errorf("steps ran: %q", names)
	}
}

// TestShownGraphHasTheMasks: the graph that is shown has the file in the place
// of /etc/resolv.conf in every step, but where the step has a mount there.
func TestShownGraphHasTheMasks(t *testing.T) {
	dir := project(t, `
-- Dockerfile --
FROM {busybox}
RUN --network=host true
RUN --mount=type=tmpfs,target=/etc/resolv.conf true
`)
	opts := map[string]string{"requestid": convertllb.RequestConvertLLB, "frontend.caps": "moby.buildkit.frontend.subrequests"}
	var shown struct {
		Def map[string]struct {
			Exec *struct {
				Network string
				Mounts  []struct {
					Dest, Selector string
					Readonly       bool
				}
			}
		}
	}
	res, _, err := ask(t, dir, request(opts))
	if err != nil {
		t.Fatal(err)
	}
	decode(t, res.Metadata["result.json"], &shown)
	var got []string
	for _, op := range shown.Def {
		if op.Exec == nil {
			continue
		}
		line := op.Exec.Network
		for _, m := range op.Exec.Mounts {
			line += fmt.Sprintf(" %s<%s>%v", m.Dest, m.Selector, m.Readonly)
		}
		got = append(got, line)
	}
	slices.Sort(got)
	want := []string{"NONE /<>false /etc/resolv.conf<>false", "NONE /<>false /etc/resolv.conf<resolv.conf>true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestNameServersAreMasked: a step sees none of the name servers of the daemon's
// host.
func TestNameServersAreMasked(t *testing.T) {
	dir := project(t, `
-- Dockerfile --
FROM {busybox} AS b
RUN cat /etc/resolv.conf >/seen && touch /etc/resolv.conf 2>/written; true
FROM scratch
COPY --from=b /seen /written /
`)
	servers := func(dir string) bool { return strings.Contains(read(t, dir, "seen"), "nameserver") }
	out := t.TempDir()
	stock(t, dir, "--no-cache", "--output=type=local,dest="+out).passed(t)
	if !servers(out) {
		t.Errorf("with upstream's frontend a step sees no name server: %q; this test would prove nothing", read(t, out, "seen"))
	}
	out, _ = files(t, dir, "--no-cache")
	if servers(out) || !strings.Contains(read(t, out, "written"), "Read-only") {
		t.Errorf("a step sees %q and writes with %q", read(t, out, "seen"), read(t, out, "written"))
	}
	// The steps that provenance lists in full are those of the Dockerfile.
	out, _ = files(t, dir, "--no-cache", "--provenance=mode=max")
	if !servers(out) {
		t.Errorf("with provenance of all steps a step sees %q", read(t, out, "seen"))
	}
}

// TestAddIsServedFromTheCache: an ADD of a URL that the cache has is the same to
// the last byte and mode as a download, when the server is gone.
func TestAddIsServedFromTheCache(t *testing.T) {
	// The daemon finds by its sum what it has downloaded before, whatever the
	// server, so each content is a new one.
	content := func() []byte { return fmt.Appendf(nil, "#!/bin/sh\necho %d\n", time.Now().UnixNano()) }
	serve := func(data []byte) *httptest.Server {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(data) }))
		t.Cleanup(server.Close)
		return server
	}
	text := func(server *httptest.Server, data []byte) string {
		return strings.NewReplacer("{url}", server.URL, "{sum}", cache.SumBytes(data).String()).Replace(`
-- Dockerfile --
FROM {busybox} AS b
ARG NAME=tool
ADD --checksum={sum} {url}/bin/$NAME?version=1 /opt/
ADD --checksum={sum} --chmod=755 --chown=1000:1000 {url}/bin/tool?version=1 /opt/renamed
WORKDIR /opt
RUN stat -c '%n %a %u:%g %s' * >/seen && cat * >>/seen && ./renamed >>/seen
FROM scratch
COPY --from=b /seen /
-- artifacts.lock.yaml --
metadata: {version: "1.0"}
artifacts:
- download_url: {url}/bin/tool?version=1
  checksum: {sum}
`)
	}
	want := t.TempDir()
	first := content()
	stock(t, project(t, text(serve(first), first)), "--no-cache", "--output=type=local,dest="+want).passed(t)

	second := content()
	gone := serve(second)
	dir := project(t, text(gone, second))
	deps := prefetch(t, nil, "--store="+t.TempDir(), dir)
	gone.Close()
	if r := stock(t, dir, "--no-cache"); r.err == nil {
		t.Errorf("upstream's frontend needs no server; this test would prove nothing\n%s", r.log)
	}
	out, r := files(t, dir, "--no-cache", with(deps))
	numbers := regexp.MustCompile(`\d{19}`)
	if !strings.Contains(read(t, out, "seen"), string(second)) {
		t.Errorf("a step sees %q", read(t, out, "seen"))
	}
	if diff := cmp.Diff(numbers.ReplaceAllString(read(t, want, "seen"), "N"), numbers.ReplaceAllString(read(t, out, "seen"), "N")); diff != "" {
		t.Errorf("a step sees something else: -downloaded +served\n%s", diff)
	}
	if strings.Contains(r.log, "UndeclaredAdd") {
		t.Errorf("a warning\n%s", r.log)
	}
	found, r := steps(t, dir, "--no-cache")
	contains(t, "the error", r.failed(t), "MissingInput: 1 input is not in the cache", "artifacts.lock.yaml: 1 input: not in the cache")
	if names := ran(found); len(names) > 0 {
		t.Errorf("steps ran: %q", names)
	}
}

// TestNetworkByException: the one step that an exception names has a network,
// and the build has no level. Nobody else gets one.
func TestNetworkByException(t *testing.T) {
	w := newWatch(t)
	get := func(label string) string {
		return fmt.Sprintf("echo %s | nc -w 5 127.0.0.1 %s | grep hello", label, w.port)
	}
	text := strings.NewReplacer("{granted}", get("granted"), "{sibling}", get("sibling"), "{other}", get("other"), "{later}", later()).Replace(`
-- Dockerfile --
FROM {busybox} AS b
RUN {granted} >/granted && \
	grep nameserver /etc/resolv.conf
RUN {sibling} || echo shut >/sibling
FROM b AS other
RUN {other} || echo shut >/sibling2
FROM scratch
COPY --from=other /granted /sibling /sibling2 /
-- hermetic.yaml --
exceptions:
  - value: >-
      RunNetwork:RUN {granted} >/granted && grep nameserver /etc/resolv.conf
    reason: the mirror is not there yet
    approvedBy: Grace Hopper
    effectiveUntil: {later}
`)
	dir := project(t, text)
	file := filepath.Join(t.TempDir(), "metadata.json")
	out, r := files(t, dir, "--no-cache", "--metadata-file="+file)
	for name, want := range map[string]string{"granted": "hello\n", "sibling": "shut\n", "sibling2": "shut\n"} {
		if got := read(t, out, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if diff := cmp.Diff([]string{"tcp granted"}, w.take()); diff != "" {
		t.Errorf("the watch saw: -want +got\n%s", diff)
	}
	r.says(t, "level none: Dockerfile:2: RUN "+get("granted"), "has a network (granted by Grace Hopper until ", "the mirror is not there yet")
	var report struct {
		Level    string
		Networks []struct {
			Line      int
			Exception string
		}
	}
	var metadata map[string]json.RawMessage
	var raw string
	decode(t, []byte(read(t, file)), &metadata)
	decode(t, metadata["frontend.hermetic.report"], &raw)
	decode(t, []byte(raw), &report)
	if report.Level != "none" || len(report.Networks) != 1 || report.Networks[0].Line != 2 {
		t.Errorf("the report says %+v", report)
	}
}

// TestNoNetworkWithoutAPlace: an exception for the whole build gives nobody a
// network.
func TestNoNetworkWithoutAPlace(t *testing.T) {
	dir := project(t, `
-- Dockerfile --
FROM {busybox}
RUN --network=host true
-- hermetic.yaml --
exceptions: [{value: RunNetwork, reason: a test, approvedBy: Ada, effectiveUntil: `+later()+`}]
`)
	found, r := steps(t, dir)
	contains(t, "the error", r.failed(t), "hermetic.yaml:1: RunNetwork: needs a place")
	if names := ran(found); len(names) > 0 {
		t.Errorf("steps ran: %q", names)
	}
}

// TestNetworkForAStage: an exception for a stage is for its steps, not for those
// of a stage that begins with it.
func TestNetworkForAStage(t *testing.T) {
	w := newWatch(t)
	get := func(label string) string {
		return fmt.Sprintf("echo %s | nc -w 5 127.0.0.1 %s || true", label, w.port)
	}
	dir := project(t, `
-- Dockerfile --
FROM {busybox} AS Fetch
RUN `+get("one")+`
RUN `+get("two")+`
FROM fetch AS build
RUN `+get("three")+`
-- hermetic.yaml --
exceptions: [{value: "RunNetwork:fetch", reason: a test, approvedBy: Ada, effectiveUntil: `+later()+`}]
`)
	build(t, dir, "--no-cache").passed(t).says(t, "level none: Dockerfile:2: ", "level none: Dockerfile:3: ")
	if diff := cmp.Diff([]string{"tcp one", "tcp two"}, w.take()); diff != "" {
		t.Errorf("the watch saw: -want +got\n%s", diff)
	}
}

// TestStrictByPolicy: the organisation's policy makes every build strict, and the
// repository cannot loosen it.
func TestStrictByPolicy(t *testing.T) {
	frontend := frontendWith(t, "strict: true\n")
	dir := project(t, `
-- Dockerfile --
FROM {registry}/busybox:latest
RUN true
-- hermetic.yaml --
strict: false
`)
	found, r := steps(t, dir, "--build-arg=BUILDKIT_SYNTAX="+frontend)
	contains(t, "the error", r.failed(t), "UnpinnedImage: 1 image is not pinned by digest", "Dockerfile:1: ")
	if names := ran(found); len(names) > 0 {
		t.Errorf("steps ran: %q", names)
	}
	build(t, dir).passed(t).says(t, "UnpinnedImage: Dockerfile:1: ")
}

// TestCacheMountByException: an exception keeps a cache mount as it is, and costs
// the build the level "pinned"; the mount of another step stays private.
func TestCacheMountByException(t *testing.T) {
	nonce := fmt.Sprint(time.Now().UnixNano())
	mount := "--mount=type=cache,id=x" + nonce + ",target=/c"
	dir := project(t, `
-- Dockerfile --
FROM {busybox} AS b
RUN `+mount+` echo left >/c/left
RUN `+mount+` ls -A /c >/shared
RUN `+mount+` ls -A /c >/private
FROM scratch
COPY --from=b /shared /private /
-- hermetic.yaml --
exceptions:
- {value: "CacheMount:RUN `+mount+` echo left >/c/left", reason: a test, approvedBy: Ada, effectiveUntil: `+later()+`}
- {value: "CacheMount:RUN `+mount+` ls -A /c >/shared", reason: a test, approvedBy: Ada, effectiveUntil: `+later()+`}
`)
	file := filepath.Join(t.TempDir(), "metadata.json")
	out, r := files(t, dir, "--metadata-file="+file)
	r.says(t, "CacheMount: Dockerfile:4: /c: private and empty")
	if shared, private := read(t, out, "shared"), read(t, out, "private"); shared != "left\n" || private != "" {
		t.Errorf("the steps found %q and %q", shared, private)
	}
	var metadata map[string]json.RawMessage
	decode(t, []byte(read(t, file)), &metadata)
	if report := string(metadata["frontend.hermetic.report"]); !strings.Contains(report, `{\"level\":\"sealed\"`) {
		t.Errorf("the report says %s", report)
	}
}
