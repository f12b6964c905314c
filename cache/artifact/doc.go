// Package artifact writes the deps context of a manifest as an OCI image: a
// cache that has a digest, which a release can pin and a registry can keep.
//
// Reach for [New], which decides what is in the image, then for
// [Artifact.WriteLayout] or [Artifact.Push], which take it somewhere. Both send
// only what is not there yet. [CheckLayout] and [ParseReference] tell early
// whether they can. An image holds what a view holds, but no packs:
//
//	shard      <blobs>  the blobs of some packages, sorted
//	shard      <blobs>  …
//	manifest   hermetic.manifest
//
// each a layer of its own, an uncompressed tar without owners and with one time,
// so that equal manifests are equal bytes on every machine. Nothing is staged: a
// layer is read from the store whenever it is written.
//
// The formats are those of the OCI image specification 1.1
// (https://github.com/opencontainers/image-spec) and the distribution
// specification (https://github.com/opencontainers/distribution-spec).
package artifact
