// Package suite names what `make conformance` compiles the tests of; it has no
// code. It is a module of its own because those tests need modules that nothing
// else here does.
package suite

import _ "github.com/moby/buildkit/frontend/dockerfile"
