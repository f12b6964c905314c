package cache

import (
	"fmt"
	"strings"
)

// EnvFile is an environment as lines for a shell to source, as Hermeto's
// generate-env writes them.
func EnvFile(env []EnvVar) []byte {
	var b strings.Builder
	for _, v := range env {
		fmt.Fprintf(&b, "export %s=%s\n", v.Name, shellQuote(v.Value))
	}
	return []byte(b.String())
}

// shellQuote quotes as Python's shlex.quote does, which Hermeto uses.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%+=:,./-_", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'"
}
