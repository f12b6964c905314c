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
// Files of which the lockfile gives URL and sum need no more than the type
// files, with a fileSource for what sets a package type apart. What a lockfile
// wants sent with a request is a template; variables of the environment fill it
// in when the file is asked for, and nothing keeps the outcome.
//
// Crates come from registries with a sparse index, which the lockfile and the
// project's configuration of cargo name; that of cargo itself is what the
// user's configuration says, else DefaultCratesIndex.
//
// One more package manager is one more entry of backends.
//
// No credential, and no part of a URL that may hold one, is ever in a message.
package fetch
