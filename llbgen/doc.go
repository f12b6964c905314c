// Package llbgen holds passes over an LLB definition, the graph that a frontend
// hands to BuildKit. It is pure: bytes in, bytes out; no context, disk, clock or
// network, and nothing of this module is imported.
//
// Which name to reach for:
//
//	Seal       shut every exec of a definition: network none, mounts, env
//	Check      list what would reach outside or could change from build to build
//	Dump       show a definition as text
//	Graph      the same, several passes for one Decode and one Encode
//	Sandbox    what every exec gets, and which ops stay as they are
//	Violation  one finding of Check, with the lines of the Dockerfile that caused it
//
// A definition is a list of marshalled ops. An op names the outputs it takes by
// the sha256 of the op that makes them, so that a changed op changes the name of
// all that stand on it:
//
//	source docker-image://example.com/base@sha256:…   #1
//	source local://context                            #2
//	exec   make          / <- #1   /src <- #2         #3
//	file   copy          <- #1     <- #3:0            #4
//	       (terminal)    <- #4:0
//
// What else a definition says of an op is keyed by that name: Metadata
// (capabilities asked of the daemon, step name, cache flags) and
// Source.Locations (lines of the Dockerfile). Seal carries both over to the new
// names; lose them, and errors no longer point at the line that failed.
//
// The format is that of github.com/moby/buildkit/solver/pb/ops.proto; the
// daemon's reader, which Decode follows and in places is stricter than, is
// solver/llbsolver/vertex.go (loadLLB) with ops/opsutils/validate.go.
package llbgen
