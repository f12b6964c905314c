package e2e

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/sbom"
	"github.com/hermetic-build/hermetic/frontend"
)

// onlyBill asks for the bill of materials of what a build was given, and for no
// scanner's.
const onlyBill = "--sbom=generator=" + frontend.BillGenerator

// spdxDocument is what in-toto calls a document in SPDX.
const spdxDocument = "https://spdx.dev/Document"

// billed are the package URLs of an in-toto statement that has a document in SPDX,
// without their qualifiers.
func billed(t *testing.T, statement []byte) []string {
	t.Helper()
	var s struct {
		Predicate json.RawMessage
	}
	decode(t, statement, &s)
	components, err := sbom.Parse("bill", s.Predicate)
	if err != nil {
		t.Fatal(err)
	}
	found := []string{}
	for _, c := range components {
		purl, _, _ := strings.Cut(c.PURL, "?")
		found = append(found, purl)
	}
	return found
}

// The bill of materials of an image has what its build was given, and neither
// what other targets are given nor what is in the cache besides.
func TestBillOfMaterials(t *testing.T) {
	m := newMirror(t)
	m.add(t, full("m1"), "-- m1.go --\npackage m1\n\nconst Name = \"m1\"\n")
	url := newFileServer(t)
	registry := newNpmRegistry(t)
	registry.add(t, "left", "1.0.0", "")
	added := `FROM scratch AS added
ADD --checksum=` + cache.SumBytes(genericFiles["/tool.sh"]).String() + " " + url + "/tool.sh /\n"
	dir := project(t, strings.Replace(leastMounts, "-- all.sh --\n", added+"FROM all\n-- all.sh --\n", 1)+
		"-- go.mod --\n"+require(full("m1"))+"-- go.sum --\n"+m.goSum(full("m1"))+
		"-- artifacts.lock.yaml --\n"+artifactsLock(url)+packageLock(registry, "left"))
	env := append(m.env(), "GENERIC_TOKEN=s3cret", "npm_config_registry="+registry.url)
	store := "--store=" + t.TempDir()

	generic := []string{"pkg:generic/data%2Flarge", "pkg:generic/private", "pkg:generic/tool.sh"}
	module, npm := []string{"pkg:golang/example.com/app", "pkg:golang/example.com/m1@v1.0.0"}, []string{"pkg:npm/left@1.0.0", "pkg:npm/web@1.0.0"}
	for form, deps := range map[string]string{
		"view": prefetch(t, env, store, dir),
		"tree": prefetch(t, env, store, "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree"), dir),
	} {
		t.Run(form, func(t *testing.T) {
			for target, want := range map[string][]string{
				"go": module, "npm": npm, "plain": {}, "added": {"pkg:generic/tool.sh"}, "generic": generic,
			} {
				out, _ := files(t, dir, with(deps), onlyBill, "--target="+target)
				if diff := cmp.Diff(want, billed(t, []byte(read(t, out, frontend.BillFile)))); diff != "" {
					t.Errorf("target %s (-want +got):\n%s", target, diff)
				}
			}
			archive := filepath.Join(t.TempDir(), "image.tar")
			build(t, dir, with(deps), onlyBill, "--output=type=oci,dest="+archive).passed(t)
			all := slices.Sorted(slices.Values(slices.Concat(generic, module, npm)))
			found := attestations(t, archive, spdxDocument)
			if len(found) != 1 {
				t.Fatalf("the image has %d documents", len(found))
			}
			if diff := cmp.Diff(all, billed(t, found[0])); diff != "" {
				t.Errorf("the image (-want +got):\n%s", diff)
			}
		})
	}
}

// A bill of materials is there for each platform, beside that of a scanner, of
// builds that were given nothing, and is the same each time.
func TestBillsOfMaterials(t *testing.T) {
	url := newFileServer(t)
	dir := project(t, "-- Dockerfile --\nFROM {busybox} AS a\nRUN cat /cachi2/output/deps/generic/tool.sh\n"+
		"FROM scratch\nADD --checksum="+cache.SumBytes(genericFiles["/tool.sh"]).String()+" "+url+"/tool.sh /\n"+
		"-- artifacts.lock.yaml --\n"+artifactsLock(url))
	deps := prefetch(t, []string{"GENERIC_TOKEN=s3cret"}, "--store="+t.TempDir(), dir)
	image := func(t *testing.T, args ...string) [][]byte {
		t.Helper()
		archive := filepath.Join(t.TempDir(), "image.tar")
		build(t, dir, append(args, "--output=type=oci,dest="+archive)...).passed(t)
		return attestations(t, archive, spdxDocument)
	}
	tool := []string{"pkg:generic/tool.sh"}
	t.Run("platforms", func(t *testing.T) {
		found := image(t, with(deps), onlyBill, "--platform=linux/amd64,linux/arm64")
		if len(found) != 2 || !slices.Equal(billed(t, found[0]), tool) || !slices.Equal(billed(t, found[1]), tool) {
			t.Errorf("got %q", found)
		}
	})
	t.Run("a scanner", func(t *testing.T) {
		found := image(t, with(deps), "--sbom=generator="+scanner(t, "echo hello"), "--target=a")
		if len(found) != 2 {
			t.Fatalf("got %q", found)
		}
		slices.SortFunc(found, func(a, b []byte) int { return len(a) - len(b) })
		if len(billed(t, found[0])) != 0 || len(billed(t, found[1])) != len(genericFiles) {
			t.Errorf("got %q", found)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		bare := project(t, "-- Dockerfile --\nFROM {busybox}\nRUN true\n")
		out, _ := files(t, bare, onlyBill)
		if got := billed(t, []byte(read(t, out, frontend.BillFile))); len(got) != 0 {
			t.Errorf("got %q", got)
		}
		out, _ = files(t, bare, "--sbom=generator="+scanner(t, "echo hello"))
		if _, err := os.Stat(filepath.Join(out, frontend.BillFile)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("beside a scanner there is one: %v", err)
		}
	})
	t.Run("not asked for", func(t *testing.T) {
		if found := image(t, with(deps)); len(found) != 0 {
			t.Errorf("got %q", found)
		}
	})
	t.Run("again", func(t *testing.T) {
		first := image(t, with(deps), onlyBill, "--no-cache", "--provenance=false")
		second := image(t, with(deps), onlyBill, "--no-cache", "--provenance=false")
		if diff := cmp.Diff(first, second); diff != "" {
			t.Error(diff)
		}
		third := image(t, with(deps), onlyBill, "--build-arg=SOURCE_DATE_EPOCH=1700000000")
		if !strings.Contains(string(third[0]), `"created":"2023-11-14T22:13:20Z"`) {
			t.Errorf("got %s", third[0])
		}
	})
}
