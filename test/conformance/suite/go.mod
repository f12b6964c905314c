// The module whose dependencies are those of BuildKit's own Dockerfile tests.
module github.com/hermetic-build/hermetic/test/conformance/suite

go 1.26.8

require github.com/moby/buildkit v0.34.2
