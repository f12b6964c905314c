// Package frontend is the BuildKit side: a Dockerfile frontend that seals what
// it builds. Build is the only name to reach for; RunLayout is the step that
// the same binary runs inside the build.
//
// Upstream's own builder converts the Dockerfile. It is given a client whose
// Solve rewrites the graph on its way to the daemon (client.go), the smallest
// and only complete place: each command that will run is an ExecOp there,
// whoever wrote it. While upstream converts, a preflight reads the lockfiles
// and the deps context (context.go, deps.go) and collects all that is wrong;
// the first graph with an exec waits for its verdict (build.go).
//
//	Dockerfile ──> upstream's builder ──Solve──> llbgen.Seal ──Solve──> daemon
//	lockfiles ──┐                                   ^
//	manifest  ──┴─> preflight ─> layout step ───────┘ mounts, environment
package frontend
