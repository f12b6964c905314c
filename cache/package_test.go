package cache

import (
	"encoding/json"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPackageJSON(t *testing.T) {
	for _, tt := range []struct{ in, want, options string }{
		{`{"type":"gomod","path":"."}`, `{"type":"gomod","path":"."}`, ""},
		{`{"path":".","type":"gomod"}`, `{"type":"gomod","path":"."}`, ""},
		{`{}`, `{"type":"","path":""}`, ""},
		{`{"type":"x","path":"a","z":[1.50,"<"],"b":{"d":null,"c":true}}`, `{"type":"x","path":"a","b":{"c":true,"d":null},"z":[1.50,"\u003c"]}`,
			`{"b":{"c":true,"d":null},"z":[1.50,"\u003c"]}`},
		{`{"Type":"x","lockfile":"l"}`, `{"type":"","path":"","Type":"x","lockfile":"l"}`, `{"Type":"x","lockfile":"l"}`},
	} {
		var p Package
		if err := json.Unmarshal([]byte(tt.in), &p); err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if diff := cmp.Diff([]string{tt.want, tt.options}, []string{p.String(), p.Options}); diff != "" {
			t.Errorf("%s: %s", tt.in, diff)
		}
		var again Package
		if err := json.Unmarshal([]byte(p.String()), &again); err != nil || again != p {
			t.Errorf("%s: read again: %v, %v", tt.in, again, err)
		}
	}
	for _, text := range []string{`null`, `1`, `[]`, `{"type":1}`, `{"type":"x","path":{}}`, `{`} {
		p := Package{Type: "kept"}
		if err := json.Unmarshal([]byte(text), &p); err == nil || p.Type != "kept" {
			t.Errorf("%s: %v, %v", text, p, err)
		}
	}
}

func TestCanonicalOptions(t *testing.T) {
	type options struct {
		Z []string `json:"z,omitempty"`
		A string   `json:"a,omitempty"`
	}
	for want, v := range map[string]any{
		"": options{}, `{"a":"1","z":["y","x"]}`: options{Z: []string{"y", "x"}, A: "1"}, `{"n":1e400}`: map[string]json.Number{"n": "1e400"},
	} {
		got, err := CanonicalOptions(v)
		if err != nil || got != want {
			t.Errorf("%v: %s, %v; want %s", v, got, err, want)
		}
	}
	for _, v := range []any{1, "x", []string{}, func() {}} {
		if got, err := CanonicalOptions(v); err == nil {
			t.Errorf("%T: %s", v, got)
		}
	}
	var o options
	if err := (Package{Options: `{"a":"1"}`}).DecodeOptions(&o); err != nil || o.A != "1" {
		t.Errorf("%v, %v", o, err)
	}
	if err := (Package{}).DecodeOptions(&o); err != nil || o.A != "1" {
		t.Errorf("%v, %v", o, err)
	}
	if got := (Package{Type: "x", Path: "y", Options: "junk"}).String(); got != "x y" {
		t.Errorf("got %s", got)
	}
}

func TestAuth(t *testing.T) {
	env := func(name string) string {
		return map[string]string{"USER_NAME": "me", "TOKEN": "s3cret$TOKEN", "EMPTY": ""}[name]
	}
	for _, tt := range []struct {
		auth        Auth
		name, value string
		missing     []string
		literal     bool
	}{
		{auth: Auth{Header: "X-Token", Secret: "$TOKEN"}, name: "X-Token", value: "s3cret$TOKEN"},
		{auth: Auth{Header: "Authorization", Secret: "Bearer ${TOKEN}x"}, name: "Authorization", value: "Bearer s3cret$TOKENx"},
		{auth: Auth{User: "$USER_NAME", Secret: "a"}, name: "Authorization", value: "Basic bWU6YQ==", literal: true},
		{auth: Auth{Header: "X", Secret: "$$TOKEN $1 ${a-b} $"}, name: "X", value: "$TOKEN $1 ${a-b} $", literal: true},
		{auth: Auth{User: "$B", Secret: "$EMPTY$A$B"}, missing: []string{"A", "B", "EMPTY"}},
	} {
		name, value, missing := tt.auth.Resolve(env)
		if diff := cmp.Diff([]any{tt.name, tt.value, tt.missing, tt.literal}, []any{name, value, missing, tt.auth.Literal()}); diff != "" {
			t.Errorf("%v: %s", tt.auth, diff)
		}
	}
}

// Where an input is fetched from is nobody's business but the fetcher's.
func TestInputJSON(t *testing.T) {
	in := Input{Name: "x", URL: "https://example.com/x?token=s3cret", Size: 1, Auth: &Auth{Secret: "s3cret"}}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Ecosystem":"","Kind":"","Name":"x","Version":"","Platform":"","Sum":"","Path":"","Need":0,"Origin":{"File":"","Line":0}}`
	if string(data) != want {
		t.Errorf("got %s", data)
	}
	if in.ID() != (Input{Name: "x"}).ID() {
		t.Error("the place is part of the identity")
	}
}

func TestCollisions(t *testing.T) {
	in := func(line int, name, path string) Input {
		return Input{Ecosystem: "e", Name: name, Path: path, Origin: Origin{"l", line}}
	}
	p := Plan{Inputs: []Input{
		in(1, "file", "a"), in(2, "below", "a/b"), in(3, "beside", "a-b"), in(4, "deeper", "a/b/c"), in(5, "same", "a-b"), in(6, "thrice", "a-b"),
		in(7, "dir", "d/x"), in(8, "longer", "d/xy"), in(9, "dir2", "d.x/y"), {Ecosystem: "f", Name: "other", Path: "a"}, {Ecosystem: "f", Name: "none"}, {Ecosystem: "f", Name: "none2"},
	}}
	p.Normalize()
	var got []string
	for _, pr := range p.Problems {
		got = append(got, pr.String())
	}
	want := []string{
		"l:2: below: goes below file of l:1, which is a file",
		"l:4: deeper: goes below file of l:1, which is a file",
		"l:5: same: goes where beside of l:3 goes",
		"l:6: thrice: goes where beside of l:3 goes",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPrivate(t *testing.T) {
	for text, want := range map[string]bool{
		"https://example.com/x": true, "http://127.0.0.1:8080": true, "http://127.9.9.9": true, "http://[::1]:80/": true, "http://localhost": true,
		"http://example.com": false, "http://localhost.example.com": false, "http://10.0.0.1": false, "http://127.0.0.1.example.com": false, "ftp://example.com": false,
	} {
		u, err := url.Parse(text)
		if err != nil || Private(u) != want {
			t.Errorf("%s: %v, %v", text, !want, err)
		}
	}
}
