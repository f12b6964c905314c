package artifact

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"

	"github.com/hermetic-build/hermetic/cache"
)

// divideFrom is the size in bytes above which a shard is divided by one bit
// more, by the number of divisions before. A layer costs the builder some
// milliseconds however small it is, so a small cache has few, and only one of
// half a gigabyte has more than 32. With large blobs and the manifest there are
// at most 81: less than the 127 that an image may have (Docker's overlay2).
var divideFrom = [...]int64{2 << 20, 2 << 20, 2 << 20, 2 << 20, 2 << 20, 16 << 20}

const (
	aloneSize = 32 << 20 // bytes from which a blob has a layer of its own
	maxAlone  = 16       // such blobs, at most: the largest
)

// A blobFile is one blob at its place in the deps context.
type blobFile struct {
	name  string
	input string // what it is, for people
	blob  cache.Blob
	key   [sha256.Size]byte // decides about the shard
}

// blobFiles are the files of a manifest without packs, each once. The key is
// that of the package, so that what changes together, the old and the new
// version with all their files, is in one shard.
func blobFiles(m *cache.Manifest) []blobFile {
	var files []blobFile
	seen := map[string]bool{}
	for _, e := range m.Entries {
		name := e.BlobName()
		if seen[name] {
			continue
		}
		seen[name] = true
		files = append(files, blobFile{
			name: name, blob: e.Blob, key: sha256.Sum256([]byte(e.Ecosystem + "\x00" + e.Name)),
			input: cache.Input{Ecosystem: e.Ecosystem, Name: e.Name, Version: e.Version, Kind: e.Kind}.Subject(),
		})
	}
	return files
}

// shards spreads files over layers: large ones first, a layer each, then the
// others by the bits of their keys. A shard that is too large is divided by the
// next bit, so that one more file touches one shard, or makes two of it, and
// leaves all others as they were.
func shards(files []blobFile) [][]blobFile {
	rest := slices.Clone(files)
	slices.SortFunc(rest, func(a, b blobFile) int {
		return cmp.Or(-cmp.Compare(a.blob.Size, b.blob.Size), cmp.Compare(a.name, b.name))
	})
	alone := 0
	for alone < len(rest) && alone < maxAlone && rest[alone].blob.Size >= aloneSize {
		alone++
	}
	var out [][]blobFile
	for i := range alone {
		out = append(out, rest[i:i+1])
	}
	rest = rest[alone:]
	slices.SortFunc(rest, func(a, b blobFile) int {
		return cmp.Or(bytes.Compare(a.key[:], b.key[:]), cmp.Compare(a.name, b.name))
	})
	return divide(out, rest, 0)
}

// divide appends the shards of files, which agree in the first depth bits of
// their keys and are sorted by them.
func divide(out [][]blobFile, files []blobFile, depth int) [][]blobFile {
	if len(files) == 0 {
		return out
	}
	size := int64(0)
	for _, f := range files {
		size += f.blob.Size
	}
	if depth == len(divideFrom) || size <= divideFrom[depth] {
		return append(out, files)
	}
	one := slices.IndexFunc(files, func(f blobFile) bool { return f.key[depth/8]<<(depth%8)&0x80 != 0 })
	if one < 0 {
		one = len(files)
	}
	return divide(divide(out, files[:one], depth+1), files[one:], depth+1)
}
