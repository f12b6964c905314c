// Package cache knows what a build needs and where it is kept: inputs as
// lockfiles name them, the sums that identify them, the store of verified
// blobs, the manifest that ties the one to the other, and the layout that a
// package manager looks at.
//
// Which name to reach for:
//
//	Input      one thing a build needs, with its Origin (file:line) and Sum
//	Sum        algorithm and value; made only by ParseSum and its kin
//	Auth       the credential that a lockfile wants sent for an input: a template
//	Package    one entry of the prefetch input (Hermeto's JSON)
//	Plan       all that a set of packages needs, and what is wrong with it
//	Store      the content-addressed directory of verified blobs
//	Manifest   sorted text lines: input -> blob
//	Layout     paths of the tree that is made from blobs
//	Packaging  how an ecosystem's archives become directories of a Layout
//	GitWriter  the archive of a commit, which its id alone can be checked against
//	GitTree    what is in one
//	Section    a part of a configuration file that RUN steps see
//
// The store on disk (Open):
//
//	blobs/sha256/ab/abcd…   one file a blob, named by the sha256 of its bytes, mode 0444
//	index/<alg>/ab/abcd…    one line a sum: "sha256:<hex> <size>", named by the sum's value in hex
//	sumdb/…                 what a checksum database answered (Go toolchains)
//	pip/…                   which file of a Python package has which checksum, as an index said
//	views/<key>/            one deps context a project (below)
//	tmp/                    downloads under way; leftovers of killed processes are swept
//
// A view, the directory that is passed as the named build context "hermetic":
//
//	hermetic.manifest           the Manifest (see there for the format)
//	<type>/pack                 the small blobs of an ecosystem, one after the other
//	<type>/blobs/sha256/<hex>   the others, hard links into the store
//
// A view holds exactly what its manifest lists, so that a build transfers
// nothing else. Small blobs are packed because a build context costs time for
// each file, changed or not.
package cache
