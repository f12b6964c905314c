package fetch

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// A login is what a .netrc file says about a machine.
type login struct{ machine, login, password string }

// netrc is a .netrc file: credentials by machine.
type netrc []login

// readNetrc reads the file that NETRC names, else ~/.netrc. The note says what
// cannot be honoured.
func readNetrc(env func(string) string) (n netrc, note string) {
	name := env("NETRC")
	if name == "" && env("HOME") != "" {
		name = filepath.Join(env("HOME"), ".netrc")
	}
	if name == "" {
		return nil, ""
	}
	data, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "credentials are not used: " + err.Error()
	}
	return parseNetrc(string(data)), ""
}

// parseNetrc reads "machine NAME login NAME password WORD" in any arrangement
// of lines, without macros and without the default entry, which the go command
// does not use either.
func parseNetrc(data string) netrc {
	var out netrc
	var l login
	inMacro := false
	for line := range strings.Lines(data) {
		words := strings.Fields(line)
		if inMacro {
			inMacro = len(words) > 0 // a macro ends at an empty line
			continue
		}
		for len(words) > 0 {
			word := words[0]
			if strings.HasPrefix(word, "#") {
				break
			}
			if word == "default" {
				return out // it is the last entry
			}
			if len(words) == 1 {
				break
			}
			switch value := words[1]; word {
			case "machine":
				l = login{machine: value}
			case "login":
				l.login = value
			case "password":
				l.password = value
			case "macdef":
				inMacro = true
			}
			words = words[2:]
			if l.machine != "" && l.login != "" && l.password != "" {
				out = append(out, l)
				l = login{}
			}
		}
	}
	return out
}

// credentials implements credentials.
func (n netrc) credentials(u *url.URL) (header, value string) {
	l, ok := n.find(u)
	if !ok {
		return "", ""
	}
	return basic(l.login, l.password)
}

// find is the first login for the server of u: "host:port", else the host.
func (n netrc) find(u *url.URL) (login, bool) {
	for _, name := range []string{u.Host, u.Hostname()} {
		for _, l := range n {
			if strings.EqualFold(l.machine, name) {
				return l, true
			}
		}
	}
	return login{}, false
}
