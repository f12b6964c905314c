package frontend

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/patternmatcher"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/hermetic-build/hermetic/cache"
)

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"/", "a/b", true}, {"", "a", true}, {"/a", "a/b", true}, {"a/b", "a/b", true}, {"a/./b/", "a/b", true},
		{"/a/b", "a", false}, {"/a", "ab", false}, {"b", "a/b", false},
		{"/*.json", "package.json", true}, {"/*.json", "web/package.json", false}, {"/web/*.json", "web/package.json", true},
		{"/w*", "web/package.json", true}, {"/**/x", "a", true}, {"/[", "a", true}, {"../../a", "a", true},
	} {
		if got := covers(c.pattern, c.name); got != c.want {
			t.Errorf("%q covers %q: %v", c.pattern, c.name, got)
		}
	}
}

// contextOf is a context with these files, whose names end with their modes:
// "app/lock 0600", "app/link l", "app d".
func contextOf(t *testing.T, hidden, asked []string, names ...string) *lain {
	t.Helper()
	m, err := patternmatcher.New(hidden)
	if err != nil {
		t.Fatal(err)
	}
	dirs := map[string][]*fstypes.Stat{".": nil}
	for _, entry := range names {
		var name, kind string
		if _, err := fmt.Sscan(entry, &name, &kind); err != nil {
			t.Fatal(err)
		}
		mode := fs.FileMode(0o755)
		switch kind {
		case "d":
			mode |= fs.ModeDir
			dirs[name] = nil
		case "l":
			mode |= fs.ModeSymlink
		default:
			if _, err := fmt.Sscanf(kind, "%o", &mode); err != nil {
				t.Fatal(err)
			}
		}
		dirs[path.Dir(name)] = append(dirs[path.Dir(name)], &fstypes.Stat{Path: name, Mode: uint32(mode)})
	}
	f := newRefFS(t.Context(), nil)
	f.dirs = dirs
	return &lain{fsys: f, hidden: m, patterns: hidden, asked: asked}
}

// actions are what a context is laid with, in words.
func actions(t *testing.T, a *llb.FileAction) (out []string) {
	t.Helper()
	if a == nil {
		return nil
	}
	def, err := llb.Scratch().File(a).Marshal(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var op pb.Op
	if err := op.UnmarshalVT(def.Def[0]); err != nil {
		t.Fatal(err)
	}
	for _, a := range op.GetFile().Actions {
		if m := a.GetMkdir(); m != nil {
			out = append(out, fmt.Sprintf("mkdir %s %o", m.Path, m.Mode))
		}
		if m := a.GetMkfile(); m != nil {
			out = append(out, fmt.Sprintf("mkfile %s %o %s", m.Path, m.Mode, m.Data))
		}
	}
	return out
}

func TestLay(t *testing.T) {
	files := []cache.File{{Path: "app/lock", Data: []byte("new")}, {Path: "app/sub/.rc", Data: []byte("rc")}}
	for name, c := range map[string]struct {
		hidden, asked, context, want, problems []string
	}{
		"all of it": {context: []string{"app d", "app/lock 0600"},
			want: []string{"mkfile /app/lock 600 new", "mkdir /app/sub 755", "mkfile /app/sub/.rc 644 rc"}},
		"empty": {want: []string{"mkdir /app 755", "mkfile /app/lock 644 new", "mkdir /app/sub 755", "mkfile /app/sub/.rc 644 rc"}},
		"hidden": {hidden: []string{"app", "!app/sub"}, context: []string{"app d"},
			want: []string{"mkdir /app/sub 755", "mkfile /app/sub/.rc 644 rc"}},
		"all hidden":    {hidden: []string{"**"}},
		"not asked for": {asked: []string{"/other"}},
		"asked for":     {asked: []string{"/other", "/app/lo*"}, want: []string{"mkdir /app 755", "mkfile /app/lock 644 new"}},
		"by a link": {asked: []string{"/link"}, context: []string{"link l", "app d", "app/lock 0644"},
			want: []string{"mkfile /app/lock 644 new"}},
		"in the way": {context: []string{"app d", "app/lock l", "app/sub 0644"},
			problems: []string{"app/lock: a sealed build needs another file in its place, and it is no regular file",
				"app/sub/.rc: a sealed build needs another file in its place, and app/sub is no directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := contextOf(t, c.hidden, c.asked, c.context...)
			got := actions(t, l.lay(files, nil))
			var problems []string
			for _, p := range l.problems {
				problems = append(problems, p.String())
			}
			if diff := cmp.Diff([][]string{c.want, c.problems}, [][]string{got, problems}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLayNothing: a directory is not laid over one that has something in it, nor
// where nobody asks.
func TestLayNothing(t *testing.T) {
	dirs := []cache.Overlay{{From: "deps/git-submodule/lib", Path: "lib"}}
	for _, l := range []*lain{contextOf(t, nil, nil, "lib d", "lib/own 0644"), contextOf(t, nil, []string{"/other"})} {
		if got := l.lay(nil, dirs); got != nil || len(l.problems) > 0 {
			t.Errorf("%v, %v", got, l.problems)
		}
	}
	l := contextOf(t, nil, nil, "lib l")
	if got := l.lay(nil, dirs); got != nil || len(l.problems) != 1 {
		t.Errorf("%v, %v", got, l.problems)
	}
}

// TestPatternsOfTheSource: what upstream writes into a source is what lay goes by.
func TestPatternsOfTheSource(t *testing.T) {
	st := llb.Local("context", llb.ExcludePatterns([]string{"a"}), llb.FollowPaths([]string{"/b"}))
	def, err := st.Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	src, err := onlySource(def.ToPB())
	if err != nil {
		t.Fatal(err)
	}
	for attr, want := range map[string]string{pb.AttrExcludePatterns: "a", pb.AttrFollowPaths: "/b"} {
		var got []string
		if err := json.Unmarshal([]byte(src.Attrs[attr]), &got); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, %v", attr, got, err)
		}
	}
}
