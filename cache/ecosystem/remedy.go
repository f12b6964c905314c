package ecosystem

import (
	"slices"

	"github.com/hermetic-build/hermetic/cache"
)

// remedies are what mends a lockfile that is not there or has no checksum for
// something, with the package manager's own commands.
var remedies = map[cache.ProblemKind]map[string]string{
	cache.NoLock: {
		"cargo": `"cargo generate-lockfile" makes Cargo.lock; commit it`,
		"npm":   `"npm install --package-lock-only" makes package-lock.json; commit it`,
	},
	cache.NoCrates: {
		"pip": `a wheel needs no crates: the option "binary" asks for one`,
	},
	cache.NoSum: {
		"cargo": `"cargo fetch" adds the checksums that Cargo.lock lacks`,
		"gomod": `"go mod tidy" adds what go.sum lacks`,
		// https://github.com/npm/cli/issues/4460
		"npm": `npm does not add integrity to a lock that it has: remove node_modules and package-lock.json, and run "npm install --package-lock-only"`,
		"pip": `"pip-compile --generate-hashes" and "uv pip compile --generate-hashes" write hashes`,
	},
}

// Remedies tell what mends problems, where the same helps against many: a hint
// each, sorted.
func Remedies(problems []cache.Problem) []string {
	var hints []string
	for _, p := range problems {
		if hint := remedies[p.Kind][Owner(p.Origin.File)]; hint != "" && !slices.Contains(hints, hint) {
			hints = append(hints, hint)
		}
	}
	slices.Sort(hints)
	return hints
}
