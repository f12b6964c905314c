package llbgen_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/llbgen"
)

var update = flag.Bool("update", false, "rewrite golden files and the fuzz corpus")

// TestGolden seals what upstream's converter makes of each Dockerfile in
// testdata/seal and compares the graph before, the findings, and the graph
// after (or the refusal) with what the archive says.
func TestGolden(t *testing.T) {
	for _, file := range goldenFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			def := fromDockerfile(t, ar)
			original := marshal(t, def)
			got := []txtar.File{
				{Name: "before", Data: []byte(llbgen.Dump(def))},
				{Name: "check", Data: []byte(list(sandbox(t).Check(def)))},
			}
			sealed, err := llbgen.Seal(def, sandbox(t))
			if err != nil {
				got = append(got, txtar.File{Name: "refused", Data: []byte(err.Error() + "\n")})
			} else {
				got = append(got, txtar.File{Name: "after", Data: []byte(llbgen.Dump(sealed))})
				checkSealed(t, sealed)
			}
			if !bytes.Equal(original, marshal(t, def)) {
				t.Error("Seal changed the definition it was given")
			}
			compareGolden(t, file, ar, got)
		})
	}
}

// goldenFiles lists the archives.
func goldenFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/seal/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives in testdata/seal: %v", err)
	}
	return files
}

// compareGolden compares, or with -update writes, the files that a test makes.
func compareGolden(t *testing.T, file string, ar *txtar.Archive, got []txtar.File) {
	t.Helper()
	made := []string{"before", "check", "after", "refused"}
	var want []txtar.File
	rest := slices.DeleteFunc(slices.Clone(ar.Files), func(f txtar.File) bool {
		if slices.Contains(made, f.Name) {
			want = append(want, f)
			return true
		}
		return false
	})
	if *update {
		ar.Files = append(rest, got...)
		if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text := func(files []txtar.File) string { return string(txtar.Format(&txtar.Archive{Files: files})) }
	if diff := cmp.Diff(text(want), text(got)); diff != "" {
		t.Errorf("%s (-want +got; rewrite with -update):\n%s", file, diff)
	}
}

// checkSealed holds a sealed definition to what is true of all of them.
func checkSealed(t *testing.T, sealed *pb.Definition) {
	t.Helper()
	if len(sealed.Def) == 0 {
		return
	}
	load(t, sealed)
	execs := 0
	for _, op := range ops(t, sealed) {
		exec := op.GetExec()
		if exec == nil {
			continue
		}
		execs++
		if exec.Network != pb.NetMode_NONE || exec.Meta.ProxyEnv != nil {
			t.Errorf("exec %q is not shut", exec.Meta.Args)
		}
	}
	again, err := llbgen.Seal(sealed, sandbox(t))
	if err != nil {
		t.Fatalf("sealing again: %v", err)
	}
	if !bytes.Equal(marshal(t, sealed), marshal(t, again)) {
		t.Errorf("sealing again changed the graph (-once +twice):\n%s", cmp.Diff(llbgen.Dump(sealed), llbgen.Dump(again)))
	}
	open := []llbgen.Kind{llbgen.Network, llbgen.CacheMount, llbgen.ProxyEnv, llbgen.ReservedMount, llbgen.OpenInput}
	for _, v := range sandbox(t).Check(sealed) {
		if slices.Contains(open, v.Kind) {
			t.Errorf("still found after sealing: %s", v)
		}
	}
}

// TestSealDeterministic seals each graph a hundred times.
func TestSealDeterministic(t *testing.T) {
	for _, file := range goldenFiles(t) {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		def := fromDockerfile(t, ar)
		box := sandbox(t)
		var first []byte
		for i := range 100 {
			sealed, err := llbgen.Seal(def, box)
			var refused *llbgen.ViolationError
			if errors.As(err, &refused) {
				sealed = &pb.Definition{Def: [][]byte{[]byte(refused.Error())}}
			} else if err != nil {
				t.Fatal(err)
			}
			got := marshal(t, sealed)
			if i == 0 {
				first = got
			}
			if !bytes.Equal(first, got) {
				t.Fatalf("%s: run %d gave other bytes", file, i)
			}
		}
	}
}
