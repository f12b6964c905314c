package cache

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestView(t *testing.T) {
	for name, dir := range viewDirs(t) {
		s := newStore(t)
		m, err := viewManifest(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.View(m, dir)
		if err != nil {
			t.Fatal(err)
		}
		if dir != "" && got != dir || dir == "" && filepath.Dir(got) != filepath.Join(s.Dir(), "views") {
			t.Errorf("%s: the view is %s", name, got)
		}
		checkView(t, name, got, m)
		large := m.Entries[0].Blob
		if linked := sameFile(t, s.Path(large), filepath.Join(got, m.Entries[0].BlobName())); linked != (name != "elsewhere") {
			t.Errorf("%s: linked: %v", name, linked)
		}
		// What is already right is left alone.
		before := stamps(t, got)
		again, err := s.View(m, dir)
		if err != nil || again != got {
			t.Errorf("%s: again %s, %v", name, again, err)
		}
		if after := stamps(t, got); before != after {
			t.Errorf("%s: written again:\n%s\nwas:\n%s", name, after, before)
		}
	}
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(x, y)
}

// stamps are names, sizes and times of the files below dir.
func stamps(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range files(t, dir) {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, name, info.Size(), info.ModTime().Format(time.RFC3339Nano))
	}
	return b.String()
}

func TestViewRepairs(t *testing.T) {
	for name, dir := range viewDirs(t) {
		s := newStore(t)
		m, err := viewManifest(s)
		if err != nil {
			t.Fatal(err)
		}
		view, err := s.View(m, dir)
		if err != nil {
			t.Fatal(err)
		}
		small := m.Entries[len(m.Entries)-1].Blob
		blob := filepath.Join(view, m.Entries[0].BlobName())
		pack := filepath.Join(view, m.Entries[len(m.Entries)-1].BlobName())
		for what, damage := range map[string]func(){
			"blob gone":        func() { os.Remove(blob) },
			"blob flipped":     func() { flip(t, blob) },
			"blob cut off":     func() { os.Truncate(blob, 3) },
			"blob a directory": func() { os.Remove(blob); os.MkdirAll(filepath.Join(blob, "x"), 0o755) },
			"blob a link":      func() { os.Remove(blob); os.Symlink("/etc/hostname", blob) },
			"blobs gone":       func() { os.RemoveAll(filepath.Dir(blob)) },
			"blob too many":    func() { os.WriteFile(blob[:len(blob)-4]+"ffff", nil, 0o644) },
			"pack gone":        func() { os.Remove(pack) },
			"pack flipped":     func() { flip(t, pack) },
			"pack cut off":     func() { os.Truncate(pack, 3) },
			"pack a link": func() {
				os.Remove(pack)
				os.Symlink("/etc/hostname", pack)
			},
			"pack and its blob": func() { flip(t, pack); flip(t, s.Path(small)) },
			"part gone":         func() { os.RemoveAll(filepath.Dir(pack)) },
			"part too many":     func() { os.MkdirAll(filepath.Join(view, "npm/blobs/sha256"), 0o755) },
			"manifest flipped":  func() { flip(t, filepath.Join(view, ManifestFile)) },
			"manifest gone":     func() { os.Remove(filepath.Join(view, ManifestFile)) },
			"all gone":          func() { os.RemoveAll(view) },
		} {
			damage()
			// As "prefetch --verify" does: read the store, fetch what is bad.
			for _, e := range m.Entries {
				s.Verify(e.Sum)
			}
			if _, err := viewManifest(s); err != nil {
				t.Fatal(err)
			}
			if _, err := s.View(m, dir); err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
				continue
			}
			checkView(t, name+", "+what, view, m)
		}
	}
}

func TestViewOfAnotherManifest(t *testing.T) {
	for name, dir := range viewDirs(t) {
		if dir == "" {
			continue // those are named after their content
		}
		s := newStore(t)
		m, err := viewManifest(s)
		if err != nil {
			t.Fatal(err)
		}
		less := &Manifest{Entries: append([]Entry{}, m.Entries[:2]...)}
		for _, m := range []*Manifest{m, less, {}, m} {
			if _, err := s.View(m, dir); err != nil {
				t.Fatal(err)
			}
			checkView(t, name, dir, m)
		}
		// A blob that the store lacks: no view, and nothing that looks like one.
		lacking := &Manifest{Entries: append([]Entry{{ID: ID{Ecosystem: "gomod", Name: "lacking"}, Blob: Blob{SumBytes([]byte("?")), packLimit}}}, m.Entries...)}
		if _, err := s.View(lacking, dir); err == nil {
			t.Errorf("%s: a view of what the store lacks", name)
		}
		if _, err := os.Stat(filepath.Join(dir, ManifestFile)); err == nil {
			t.Errorf("%s: an incomplete view has a manifest", name)
		}
		if _, err := s.View(m, dir); err != nil {
			t.Errorf("%s: after a failure: %v", name, err)
		}
		checkView(t, name, dir, m)
	}
}

func TestViewRefusesForeignDirectories(t *testing.T) {
	s := newStore(t)
	for name, file := range map[string]string{
		"a file":        "README.md",
		"a directory":   "src/main.go",
		"an OCI layout": "blobs/sha256/" + strings.Repeat("a", 64),
		"other blobs":   "blobs/photo.jpg",
		"a file blobs":  "gomod/blobs",
		"a bare pack":   "pack",
		"other files":   "gomod/blobs/photo.jpg",
		"no blob":       "gomod/blobs/sha256/photo.jpg",
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("precious"), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := s.View(&Manifest{}, dir)
		if want := dir + ": not empty, and not a deps context that may be replaced"; err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		if got := files(t, dir); len(got) != 1 || got[0] != file {
			t.Errorf("%s: now holds %q", name, got)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.View(&Manifest{}, file); err == nil {
		t.Error("a file becomes a view")
	}
	for name, parts := range map[string][]string{"empty": nil, "unfinished": {"gomod/blobs/sha256/" + strings.Repeat("a", 64), "gomod/pack", "cargo/pack", ".new-1"}} {
		dir := t.TempDir()
		for _, p := range parts {
			os.MkdirAll(filepath.Dir(filepath.Join(dir, p)), 0o755)
			if err := os.WriteFile(filepath.Join(dir, p), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.View(&Manifest{}, dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestViewTooLarge(t *testing.T) {
	s := newStore(t)
	m := &Manifest{Locks: []Lock{{strings.Repeat("x", maxManifest), SumBytes(nil)}}}
	if dir, err := s.View(m, ""); err == nil || !strings.Contains(err.Error(), "larger than 16 MB") {
		t.Errorf("%s, %v", dir, err)
	}
}
