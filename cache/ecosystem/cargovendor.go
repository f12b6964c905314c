package ecosystem

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// checksumFile is where a vendored crate has the sums of its files. Cargo
// compares "package" with Cargo.lock, and each file that it compiles.
const checksumFile = ".cargo-checksum.json"

// checksums are its content.
type checksums struct {
	Files   map[string]string `json:"files"`
	Package *string           `json:"package"` // nil for a crate from git
}

// Packaging implements Packager.
func (cargo) Packaging() cache.Packaging {
	return cache.Packaging{Skip: notVendored, Pick: pickCrates, Finish: writeChecksums, Check: checkVendored}
}

// notVendored are the files that cargo vendor leaves out, wherever they are:
// those of git, which would keep others from being checked in, and cargo's own
// mark. A list of checksums that the crate brings along is not believed.
func notVendored(name string) bool {
	if name == checksumFile {
		return true
	}
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case ".gitattributes", ".gitignore", ".git", ".cargo-ok":
			return true
		}
	}
	return false
}

func writeChecksums(in cache.Input, files []cache.Unpacked) []cache.File {
	sums := checksums{Files: map[string]string{}, Package: packageSum(in)}
	for _, f := range files {
		sums.Files[f.Path] = f.Sum.Hex()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.Encode(sums) // strings always encode
	return []cache.File{{Path: checksumFile, Data: bytes.TrimSuffix(b.Bytes(), []byte("\n"))}}
}

// packageSum is the sum of a crate's archive; nil for one from git, of which
// there is none.
func packageSum(in cache.Input) *string {
	if in.Sum.Algorithm() == cache.Git {
		return nil
	}
	sum := in.Sum.Hex()
	return &sum
}

// checkVendored compares a vendored crate with the lockfile's sum and with its
// own. Files that its list does not have are no input of cargo's.
func checkVendored(in cache.Input, dir fs.FS) error {
	data, cause := readLock(dir, checksumFile, maxCargoLock)
	if cause != "" {
		return fmt.Errorf("%s: %s", checksumFile, cause)
	}
	var sums checksums
	if json.Unmarshal(data, &sums) != nil {
		return fmt.Errorf("%s: not of the form that cargo vendor writes", checksumFile)
	}
	switch got, want := sums.Package, packageSum(in); {
	case want == nil && got != nil:
		return fmt.Errorf("%s: of a crate of a registry, want one from git", checksumFile)
	case want != nil && (got == nil || *got != *want):
		if got == nil {
			got = new(string)
		}
		return fmt.Errorf("%s: of a crate with the sha256 %.64q, want %s", checksumFile, *got, *want)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(sums.Files)) {
		if !fs.ValidPath(name) {
			errs = append(errs, fmt.Errorf("%.200q: not a path inside it", name))
			continue
		}
		if err := checkFile(dir, name, sums.Files[name]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s", name, readCause(err)))
		}
		if len(errs) >= 10 {
			break
		}
	}
	return errors.Join(errs...)
}

// checkFile compares a file with its sha256 in hex.
func checkFile(dir fs.FS, name, want string) error {
	info, err := fs.Stat(dir, name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return errors.New("changed since it was vendored")
	}
	return nil
}
