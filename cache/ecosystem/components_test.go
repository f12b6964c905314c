package ecosystem

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/package-url/packageurl-go"

	"github.com/hermetic-build/hermetic/cache"
)

// TestComponents holds what bills of materials have of packages to the golden
// parts of testdata/components-*.txtar, and every package URL to its canonical
// form.
func TestComponents(t *testing.T) {
	for _, a := range archives(t, "components-*.txtar") {
		o := Options{
			Repository: a.settings["repository"],
			Registries: map[string]Registry{"pip": {URL: a.settings["index"], Public: "https://public.example.com/simple/"}, "npm": {URL: a.settings["index"], Public: "https://public.example.com/"}},
		}
		if o.Repository != "" {
			at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
			o.Revisions = map[string]Revision{
				".":   {o.Repository, at},
				"sub": {"git+https://git.example.com/team/sub.git@fedcba9876543210fedcba9876543210fedcba98", at.Add(time.Hour)},
			}
		}
		plan := New(a.fsys, a.packages(t), o)
		for i, in := range plan.Inputs {
			if in.Need == cache.Alternative { // a stand-in for what an index says
				plan.Inputs[i].Path = map[bool]string{true: "x.whl", false: "x.tar.gz"}[in.Sum.Hex()[0] == 'a']
			}
		}
		var b strings.Builder
		for _, c := range Components(plan, plan.Inputs) {
			fmt.Fprintf(&b, "%s %s %s\n\t%s\n", c.Type, c.Name, c.Version, c.PURL)
			for _, p := range c.Properties {
				fmt.Fprintf(&b, "\t%s=%s\n", p.Name, p.Value)
			}
			if c.URL != "" {
				fmt.Fprintf(&b, "\tfrom %s\n", c.URL)
			}
			fmt.Fprintf(&b, "\t%s\n", strings.Join(c.Notes, " "))
			if p, err := packageurl.FromString(c.PURL); err != nil || p.ToString() != c.PURL && p.Type != "golang" { // whose paths keep their case, as in Hermeto
				t.Errorf("%s: %s: not canonical: %v: %v", a.name, c.PURL, p, err)
			}
		}
		for _, p := range plan.Problems {
			fmt.Fprintln(&b, p)
		}
		a.compare(t, b.String())
	}
}
