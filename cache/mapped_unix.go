//go:build unix

package cache

import (
	"errors"
	"io"
	"os"
	"runtime/debug"
	"syscall"
)

// mapped is how much of a file is mapped at a time.
const mapped = 4 << 20

// errShrunk is of a file that lost bytes while it was read.
var errShrunk = errors.New("changed while it was read")

// mapInto is readInto for a regular file, without a copy of its bytes. Not ok
// is a file that cannot be mapped; nothing was written then.
func mapInto(f *os.File, size int64, to []io.Writer) (ok bool, err error) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false, nil
	}
	size = min(size, info.Size()) // shorter than it should be: the sum tells
	for at := int64(0); at < size; at += mapped {
		piece, err := syscall.Mmap(int(f.Fd()), at, int(min(mapped, size-at)), syscall.PROT_READ, syscall.MAP_SHARED)
		if err != nil {
			return at > 0, err
		}
		err = writeMapped(piece, to)
		if err := errors.Join(err, syscall.Munmap(piece)); err != nil {
			return true, err
		}
	}
	return true, nil
}

// writeMapped gives memory that a file is mapped to to all writers. Where the
// file ends before it, reading is a fault rather than an error.
func writeMapped(piece []byte, to []io.Writer) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if _, fault := p.(interface{ Addr() uintptr }); !fault {
				panic(p)
			}
			err = errShrunk
		}
	}()
	return writePieces(piece, to)
}
