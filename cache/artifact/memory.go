package artifact

import (
	"io"

	"github.com/containerd/containerd/v2/core/content"
)

// memory is bytes as a content.ReaderAt.
func memory(data []byte) content.ReaderAt { return inMemory(data) }

type inMemory []byte

// ReadAt implements io.ReaderAt.
func (m inMemory) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(p, m[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Size is the number of bytes.
func (m inMemory) Size() int64 { return int64(len(m)) }

// Close does nothing.
func (m inMemory) Close() error { return nil }
