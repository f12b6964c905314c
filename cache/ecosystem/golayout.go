package ecosystem

import (
	"encoding/json"
	"path"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/hermetic-build/hermetic/cache"
)

// downloadPath is where the go command keeps a file of a module version.
func downloadPath(name, version, suffix string) string {
	esc, err1 := module.EscapePath(name)
	ver, err2 := module.EscapeVersion(version)
	if err1 != nil || err2 != nil {
		return "" // parseGoSum lets no such module through
	}
	return path.Join(downloadDir, esc, "@v", ver+suffix)
}

// Extras are what the go command expects beside zips and go.mod files: the
// sum of each zip, the version records, the list of versions. A list has
// pseudo-versions, as in a cache that the go command made, which passes over
// them when it reads one.
func (gomod) Extras(inputs []cache.Input) []cache.File {
	var files []cache.File
	seen := map[module.Version]bool{}
	lists := map[string][]string{}
	for _, in := range inputs {
		if in.Kind == kindZip && !in.Sum.IsZero() {
			files = append(files, cache.File{Path: downloadPath(in.Name, in.Version, ".ziphash"), Data: []byte(in.Sum.Notation())})
		}
		mv := module.Version{Path: in.Name, Version: in.Version}
		if seen[mv] {
			continue
		}
		seen[mv] = true
		files = append(files, cache.File{Path: downloadPath(in.Name, in.Version, ".info"), Data: info(in.Version)})
		lists[in.Name] = append(lists[in.Name], in.Version)
	}
	for name, versions := range lists {
		semver.Sort(versions)
		esc, err := module.EscapePath(name)
		if err != nil {
			continue // parseGoSum lets no such module through
		}
		files = append(files, cache.File{
			Path: path.Join(downloadDir, esc, "@v", "list"),
			Data: []byte(strings.Join(versions, "\n") + "\n"),
		})
	}
	return files
}

// info is a version record. A pseudo-version carries its own time; another
// version's time is not in any lockfile, and none is made up.
func info(version string) []byte {
	record := struct {
		Version string
		Time    *time.Time `json:",omitempty"`
	}{Version: version}
	if t, err := module.PseudoVersionTime(version); err == nil {
		record.Time = &t
	}
	data, _ := json.Marshal(record) // a string and a time always marshal
	return data
}
