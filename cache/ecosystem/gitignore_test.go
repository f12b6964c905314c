package ecosystem

import (
	"reflect"
	"testing"
	"testing/quick"

	"github.com/pelletier/go-toml/v2"
)

// TestIgnoreRules has what gitignore(5) says.
func TestIgnoreRules(t *testing.T) {
	for _, c := range []struct {
		rule, name string
		want       bool
	}{
		{"a", "a", true}, {"a", "x/a", true}, {"a", "a/x", true}, {"a", "ab", false},
		{"/a", "a", true}, {"/a", "x/a", false}, {"/a", "a/b/c", true},
		{"a/", "a", false}, {"a/", "a/b", true}, {"a/", "x/a/b", true},
		{"a/b", "a/b", true}, {"a/b", "x/a/b", false}, {"a/b", "a/b/c", true},
		{"*.rs", "x/y.rs", true}, {"/*.rs", "x/y.rs", false}, {"a*c", "abc", true}, {"a/*", "a/b/c", true}, {"a/*/c", "a/b/c", true}, {"a/*/c", "a/b/x/c", false},
		{"**/a", "a", true}, {"**/a", "x/y/a", true}, {"a/**", "a/b", true}, {"a/**", "a", false}, {"a/**/b", "a/b", true}, {"a/**/b", "a/x/y/b", true},
		{"a?c", "abc", true}, {"a?c", "a/c", false}, {"[a-c].x", "b.x", true}, {"[!a-c].x", "b.x", false}, {"[!a-c].x", "d.x", true}, {"[", "[", false}, {"[]a]", "]", true},
		{"{a,b}.x", "b.x", true}, {"{a,b}.x", "c.x", false}, {`\!a`, "!a", true}, {`\#a`, "#a", true}, {"#a", "#a", false}, {"", "a", false}, {"a  ", "a", true}, {`a\ `, "a ", true},
		{"é*", "éx", true}, {"a.b", "axb", false}, {`a\*`, "a*", true}, {`a\*`, "ab", false},
	} {
		if got := newIgnoreRules([]string{c.rule}).match(c.name); got != c.want {
			t.Errorf("%q on %q: %v", c.rule, c.name, got)
		}
	}
	rules := newIgnoreRules([]string{"*.tmp", "!keep.tmp", "/dir", "!/dir/in"})
	for name, want := range map[string]bool{"a.tmp": true, "x/keep.tmp": false, "dir/a": true, "dir/in": false, "dir/in/x": false} {
		if got := rules.match(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func FuzzIgnoreRules(f *testing.F) {
	f.Add("[!a-z]{b,c}/**/*.?", "a/b")
	f.Fuzz(func(t *testing.T, rule, name string) {
		newIgnoreRules([]string{rule}).match("x/" + name[:min(len(name), 1000)]) // no tree has longer ones
	})
}

// FuzzWriteTOML: what is written means what was read.
func FuzzWriteTOML(f *testing.F) {
	f.Add("a = \"x\\ny'\\\"\\\\\\u0001\"\n[b.\"c d\"]\ne = [1, {f=2.5}, [true]]\n[[g]]\nh = 1979-05-27\n[[g]]\n[i]\n\"\\n\" = '''x''y'''\nj = {}\n")
	f.Add("'\"' = 1\n\"'\\\"\" = 2\n[a.\"''\\\"\\\\c d\"]\n\"\" = 3\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := &lockReader{}
		root := r.tree([]byte(text))
		var want, got map[string]any
		if len(r.problems) > 0 || root == nil || toml.Unmarshal([]byte(text), &want) != nil {
			t.Skip("no TOML")
		}
		fields, _ := fieldsOf(root)
		out := writeTOML(fields)
		if err := toml.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%v\n%s\n%s", err, text, out)
		}
		if !same(want, got) {
			t.Errorf("%s\n%s", text, out)
		}
	})
}

// same compares values, with those that are not a number as equal.
func same(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if w, has := b[k]; !has || !same(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !same(a[i], b[i]) {
				return false
			}
		}
		return true
	case float64:
		f, ok := b.(float64)
		return ok && (a == f || a != a && f != f)
	}
	return reflect.DeepEqual(a, b)
}

// Strings of any kind survive.
func TestTOMLText(t *testing.T) {
	check := func(s string) bool {
		var got map[string]string
		err := toml.Unmarshal([]byte(writeTOML(tomlFields{{s, s}})), &got)
		return err == nil && got[s] == s || err != nil && !isText(s)
	}
	if err := quick.Check(check, nil); err != nil {
		t.Error(err)
	}
	for _, s := range []string{"", "'", `"`, `\`, "\n", "\r\n", "a\nb", "'''", `"""`, "'\"\n", "\t", "é\x7f", `""" '''`, "\\\n'''\"\"\""} {
		if !check(s) {
			t.Errorf("%q: %s", s, writeTOML(tomlFields{{s, s}}))
		}
	}
}

func isText(s string) bool {
	for _, r := range s {
		if r == 0xfffd {
			return false
		}
	}
	return true
}
