//go:build unix

package cache

import (
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// setLinkTime sets the time of a symbolic link itself.
func setLinkTime(name string, t time.Time) error {
	at := unix.NsecToTimeval(t.UnixNano())
	if err := unix.Lutimes(name, []unix.Timeval{at, at}); err != nil {
		return &fs.PathError{Op: "lutimes", Path: name, Err: err}
	}
	return nil
}
