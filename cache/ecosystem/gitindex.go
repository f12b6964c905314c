package ecosystem

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
)

// maxGitIndex bounds what is read of a repository's index, in bytes.
const maxGitIndex = 256 << 20

// parseGitIndex reads .git/index (gitformat-index(5)), in versions 2 to 4, and
// is the commits of submodules in it, by path. The error is a cause.
func parseGitIndex(data []byte) (map[string]string, error) {
	if len(data) < 12 || string(data[:4]) != "DIRC" {
		return nil, errors.New("not the index of a git repository")
	}
	version := binary.BigEndian.Uint32(data[4:])
	if version < 2 || version > 4 {
		return nil, fmt.Errorf("version %d of the format: not one of 2, 3, 4", version)
	}
	var err error
	for _, h := range []hash.Hash{sha1.New(), sha256.New()} {
		if len(data) < 12+h.Size() {
			continue
		}
		body, sum := data[:len(data)-h.Size()], data[len(data)-h.Size():]
		h.Write(body)
		if bytes.Equal(h.Sum(nil), sum) || len(bytes.Trim(sum, "\x00")) == 0 { // which index.skipHash leaves out
			r := &indexReader{data: body, at: 12, version: version, id: h.Size()}
			var links map[string]string
			if links, err = r.links(binary.BigEndian.Uint32(data[8:])); err == nil {
				return links, nil
			}
		}
	}
	if err == nil {
		err = errors.New("damaged: its checksum is another")
	}
	return nil, err
}

// An indexReader reads the entries of an index.
type indexReader struct {
	data    []byte // without the checksum at its end
	at      int
	version uint32
	id      int // bytes of an id
	last    string
}

var errIndexShort = errors.New("damaged: it ends too early")

func (r *indexReader) links(entries uint32) (map[string]string, error) {
	out := map[string]string{}
	for range entries {
		start := r.at
		head := 40 + r.id + 2
		if len(r.data)-start < head {
			return nil, errIndexShort
		}
		mode := binary.BigEndian.Uint32(r.data[start+24:])
		id := hex.EncodeToString(r.data[start+40 : start+40+r.id])
		flags := binary.BigEndian.Uint16(r.data[start+40+r.id:])
		r.at += head
		if flags&0x4000 != 0 && r.version >= 3 {
			r.at += 2
		}
		if err := r.name(start); err != nil {
			return nil, err
		}
		switch {
		case mode != 0o160000:
		case flags>>12&3 != 0:
			return nil, fmt.Errorf("submodule %.200q: a merge is under way", r.last)
		default:
			out[r.last] = id
		}
	}
	if bytes.HasPrefix(r.data[min(r.at, len(r.data)):], []byte("link")) {
		return nil, errors.New(`split into two files: "git update-index --no-split-index" joins them`)
	}
	return out, nil
}

// name reads the name of the entry that begins at start.
func (r *indexReader) name(start int) error {
	drop := 0
	if r.version == 4 {
		var ok bool
		if drop, ok = r.varint(); !ok || drop > len(r.last) {
			return errIndexShort
		}
	}
	if r.at > len(r.data) {
		return errIndexShort
	}
	n := bytes.IndexByte(r.data[r.at:], 0)
	if n < 0 {
		return errIndexShort
	}
	name := string(r.data[r.at : r.at+n])
	r.at += n + 1
	if r.version == 4 {
		r.last = strings.Clone(r.last[:len(r.last)-drop] + name)
		return nil
	}
	r.last = name
	r.at = start + (r.at-1-start+8)&^7 // padded with one to eight NULs
	return nil
}

// varint reads a number as git writes offsets in packs.
func (r *indexReader) varint() (int, bool) {
	value := 0
	for i := 0; i < 4; i++ {
		if r.at >= len(r.data) {
			return 0, false
		}
		c := r.data[r.at]
		r.at++
		value = value<<7 | int(c&0x7f)
		if c&0x80 == 0 {
			return value, true
		}
		value++
	}
	return 0, false
}
