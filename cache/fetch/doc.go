// Package fetch fills a store with what a plan needs. It is the only package
// that opens a socket; the frontend cannot link it.
//
// Which name to reach for: All, with Options for where to ask; Progress to see
// it at work; Error for the findings when it does not succeed.
//
// Where a Go module comes from is decided as the go command decides it
// (https://go.dev/ref/mod#module-proxy): GOPROXY, GONOPROXY and GOPRIVATE from
// the environment, else from the file that "go env -w" writes, else
// DefaultGOPROXY, else from what an installed go command answers. What there
// is not is a version control client: "direct" is refused by name.
//
// Of a module whose zip is wanted, the go.mod file is not asked for: it is read
// out of the zip and checked against its own line of go.sum. Only one that
// does not fit (a proxy may have made it up) is fetched.
//
// A Go toolchain is in no go.sum. Its sum comes from the checksum database
// (https://go.dev/ref/mod#checksum-database) and is remembered in the store:
//
//	sumdb/<name>/latest       the newest signed tree head
//	sumdb/<name>/cache/…      records and tiles, as the database sent them
//	sumdb/<name>/sums/<module>@<version>       "h1:…", verified
//	sumdb/<name>/sums/<module>@<version>.mod   "h1mod:…", verified
//
// Of a Python package in a requirements file, the lockfile has checksums alone.
// The index of --mirror, of the file itself, or of pip's own settings (variables
// and pip.conf, else DefaultPipIndex) tells which files they are of, and the
// package ecosystem which of these are wanted. What the index said is kept:
//
//	pip/<hex>   JSON, a list of {"sum", "file", "yanked"}; hex is the sha256 of
//	            name, version and all checksums that the lockfile accepts
//
// Files of which the lockfile gives URL and sum need no more than the type
// files, with a fileSource for what sets a package type apart. What a lockfile
// wants sent with a request is a template; variables of the environment fill it
// in when the file is asked for, and nothing keeps the outcome.
//
// Crates come from registries with a sparse index, which the lockfile and the
// project's configuration of cargo name; that of cargo itself is what the
// user's configuration says, else DefaultCratesIndex.
//
// Commits of git repositories are fetched for all package types alike, by
// git's own protocols and without its programs: one commit where the server
// gives it by its id, branches and tags where not. Submodules come with it. The
// user's settings of git count where they say url.<base>.insteadOf, and so do
// .netrc and .git-credentials; ssh shows the keys
// of an agent and those of ~/.ssh that need no passphrase, to servers that known_hosts has. What is stored
// is an archive (cache.GitWriter) that the commit's id verifies.
//
// One more package manager is one more entry of backends.
//
// No credential, and no part of a URL that may hold one, is ever in a message.
package fetch
