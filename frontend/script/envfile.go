package script

import (
	"path"
	"strings"
)

// source follows . and source. The file may change any variable; one of
// environment variables may tell package managers to stay off the network.
func (r *reader) source(c ctx, words []word) bool {
	words = skipOptions(words[1:], nil)
	if len(words) == 0 {
		return true
	}
	w := words[0]
	r.forget()
	name := w.text
	if !w.whole {
		name = w.tail
	}
	if strings.HasSuffix(name, ".env") || name == "" {
		r.covered = true
	}
	if !w.whole || !isEnvFile(w.text) {
		r.incomplete = true
		return true
	}
	if r.minded(c) {
		r.sourced = append(r.sourced, EnvFile{w.line(), w.text, envFileCause(w.text)})
	}
	return true
}

// konfluxEnv is where Konflux's build task, and every RUN here, has the file
// (konflux-build-cli, --prefetch-env-mount).
const konfluxEnv = "/cachi2/cachi2.env"

// isEnvFile tells whether a path is that of an environment file that Hermeto
// generates, by the names that its documentation and Konflux's tasks use.
func isEnvFile(name string) bool {
	switch path.Base(name) {
	case "cachi2.env", "hermeto.env", "prefetch.env", ".prefetch.env":
		return true
	}
	return false
}

func envFileCause(name string) string {
	if path.Clean(name) == konfluxEnv {
		return "sourced without a test, so the step fails where nothing was prefetched"
	}
	return "not there in Konflux, which sets the variables itself"
}
