//go:build unix

package cache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// cutter truncates a file when it is given the first piece of it.
type cutter struct{ f *os.File }

func (c cutter) Write(p []byte) (int, error) {
	return len(p), c.f.Truncate(0)
}

// A file that shrinks while it is read is an error, and no end of the program.
func TestShrinkingFile(t *testing.T) {
	data := make([]byte, 3*mapped/2)
	for i := range data {
		data[i] = byte(i >> 3)
	}
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := checkAll(f, int64(len(data)), SumBytes(data)); err != nil {
		t.Error(err)
	}
	var mismatch *MismatchError
	if err := checkAll(f, int64(len(data))+5, SumBytes(data[1:])); !errors.As(err, &mismatch) || mismatch.Got != SumBytes(data) {
		t.Errorf("another sum: %v", err)
	}
	if err := readInto(f, int64(len(data)), cutter{f}, SHA256.hash()); !errors.Is(err, errShrunk) {
		t.Errorf("a file that shrinks: %v", err)
	}
}
