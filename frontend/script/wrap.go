package script

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// A wrapper is a program that starts the program its arguments name.
type wrapper struct {
	values  string // options that take the next word as their value
	skip    int    // arguments before the program
	assigns bool   // NAME=VALUE before the program
	sub     string // the command of the wrapper that does it, "run"
}

var wrappers = map[string]wrapper{
	"sudo":             {values: "-u -g -h -p -C -T -U -R -D --user --group --chdir", assigns: true},
	"doas":             {values: "-u -C"},
	"env":              {values: "-u -C --unset --chdir", assigns: true},
	"time":             {values: "-f -o --format --output"},
	"nice":             {values: "-n --adjustment"},
	"ionice":           {values: "-c -n -p --class --classdata"},
	"nohup":            {},
	"setsid":           {},
	"timeout":          {values: "-s -k --signal --kill-after", skip: 1},
	"stdbuf":           {values: "-i -o -e"},
	"chroot":           {skip: 1},
	"gosu":             {skip: 1},
	"su-exec":          {skip: 1},
	"setarch":          {skip: 1},
	"linux32":          {},
	"linux64":          {},
	"fakeroot":         {},
	"eatmydata":        {},
	"catchsegv":        {},
	"chronic":          {},
	"unbuffer":         {},
	"tini":             {values: "-p -e"},
	"dumb-init":        {},
	"xvfb-run":         {values: "-n -s -f -e -p -w"},
	"dbus-run-session": {},
	"busybox":          {},
	"toybox":           {},
	"xargs":            {values: "-n -P -L -d -s -a -E -l --max-args --max-procs --delimiter --arg-file"},
	"conda":            {values: "-n -p --name --prefix --cwd", sub: "run"},
	"mamba":            {values: "-n -p --name --prefix --cwd", sub: "run"},
	"micromamba":       {values: "-n -p --name --prefix --cwd -r --root-prefix", sub: "run"},
	"poetry":           {values: "-C --directory -P --project", sub: "run"},
	"pipenv":           {sub: "run"},
	"pdm":              {sub: "run"},
	"rye":              {sub: "run"},
	"bundle":           {sub: "exec"},
	"bundler":          {sub: "exec"},
}

// unwrap takes a wrapper off. Not ok means that there is none, or that what it
// starts is not known.
func (r *reader) unwrap(c ctx, words []word) (k ctx, rest []word, ok bool) {
	name := words[0].program()
	switch name {
	case "su", "runuser":
		return c, r.switchUser(c, words), true
	case "npx":
		rest := skipOptions(words[1:], nil)
		if len(rest) > 0 && (rest[0].text == "playwright" || rest[0].text == "cypress") {
			return c, rest, true
		}
		return c, nil, false
	case "corepack":
		if len(words) > 1 && (words[1].text == "yarn" || words[1].text == "pnpm" || words[1].text == "npm") {
			return c, words[1:], true
		}
		return c, nil, false
	case "python", "python2", "python3", "pypy", "pypy3", "php", "ruby":
		rest := moduleOf(words)
		return c, rest, rest != nil
	}
	w, ok := wrappers[name]
	if !ok {
		if rest := moduleOf(words); strings.HasPrefix(name, "python") && rest != nil {
			return c, rest, true
		}
		return c, nil, false
	}
	values := fields(w.values)
	rest = skipOptions(words[1:], values)
	if w.sub != "" {
		if len(rest) == 0 || !rest[0].whole || rest[0].text != w.sub {
			return c, nil, false
		}
		rest = skipOptions(rest[1:], values)
	}
	if name == "env" && !slices.ContainsFunc(rest, func(w word) bool { return !isAssignment(w.text) }) {
		r.incomplete = true // shows the variables
	}
	for n := w.skip; n > 0 && len(rest) > 0; n-- {
		rest = rest[1:]
	}
	for w.assigns && len(rest) > 0 && isAssignment(rest[0].text) {
		name, text, _ := strings.Cut(rest[0].text, "=")
		c.env = append(c.env[:len(c.env):len(c.env)], binding{name, value{text, rest[0].whole}})
		rest = rest[1:]
	}
	if len(rest) > 0 && (!rest[0].one || rest[0].text == "" && rest[0].tail == "" || strings.HasPrefix(rest[0].text, "-")) {
		r.incomplete = true // an option that is not known
		return c, nil, true
	}
	if name == "xargs" {
		return xargs(c, words, rest)
	}
	return c, rest, true
}

// xargs adds the arguments that nobody knows. With -I or -r the program may not
// be started at all.
func xargs(c ctx, words, rest []word) (ctx, []word, bool) {
	for _, w := range words[1 : len(words)-len(rest)] {
		if strings.HasPrefix(w.text, "-I") || strings.HasPrefix(w.text, "-i") || w.text == "--no-run-if-empty" ||
			strings.HasPrefix(w.text, "-") && !strings.HasPrefix(w.text, "--") && strings.Contains(w.text, "r") {
			c.sure = false
		}
	}
	if len(rest) == 0 {
		return c, nil, true // echo
	}
	return c, append(rest[:len(rest):len(rest)], word{}), true
}

// moduleOf is the program that python -m, ruby -S and php FILE run; nil where
// they run something else.
func moduleOf(words []word) []word {
	rest := words[1:]
	if strings.HasPrefix(words[0].program(), "php") {
		rest = skipOptions(rest, fields("-d -c"))
		if len(rest) > 0 && strings.HasPrefix(rest[0].program(), "composer") {
			return rest
		}
		return nil
	}
	for len(rest) > 1 && rest[0].whole && strings.HasPrefix(rest[0].text, "-") {
		switch option := rest[0].text; {
		case option == "-m" || option == "-S" && words[0].program() == "ruby":
			return rest[1:]
		case strings.HasPrefix(option, "-c"):
			return nil
		case option == "-W" || option == "-X":
			rest = rest[1:]
		}
		rest = rest[1:]
	}
	return nil
}

// switchUser is what su -c and runuser start.
func (r *reader) switchUser(c ctx, words []word) []word {
	for i, w := range words[1:] {
		text, attached := strings.CutPrefix(w.text, "--command=")
		switch {
		case attached && w.whole:
			r.script(c, &source{text, []seg{{0, w.line()}}})
			return nil
		case (w.text == "-c" || w.text == "--command" || w.text == "-lc") && i+2 < len(words):
			r.script(c, r.asScript(c, words[i+2]))
			return nil
		case w.text == "--" && words[0].program() == "runuser" && i+2 < len(words):
			return words[i+2:]
		}
	}
	r.incomplete = true
	return nil
}

// skipOptions leaves out the options in front, and their values.
func skipOptions(words []word, values set) []word {
	for len(words) > 0 && strings.HasPrefix(words[0].text, "-") && words[0].whole && words[0].text != "-" {
		text := words[0].text
		words = words[1:]
		if text == "--" {
			return words
		}
		short := len(text) > 2 && text[1] != '-' && values["-"+text[len(text)-1:]] && !values[text[:2]]
		if (values[text] || short) && len(words) > 0 {
			words = words[1:]
		}
	}
	return words
}

// isAssignment tells whether a word is NAME=VALUE.
func isAssignment(s string) bool {
	name, _, ok := strings.Cut(s, "=")
	return ok && syntax.ValidName(name)
}

// isShell tells whether a program reads the language that is followed here.
func isShell(name string) bool {
	switch name {
	case "sh", "bash", "dash", "ash", "ksh", "mksh":
		return true
	}
	return false
}

// shell follows a shell that is started with a text (-c) or a here-document.
func (r *reader) shell(c ctx, words []word) (plain bool) {
	command, rest, ok := shellOptions(words[1:])
	options := words[1 : len(words)-len(rest)]
	c.errexit = startsStrict(options)
	r.incomplete = r.incomplete || readsProfile(options)
	switch {
	case !ok:
		r.incomplete = true
		return c.last
	case command && len(rest) > 0:
		k := c
		k.args = &[]word{}
		if len(rest) > 1 {
			args := rest[2:]
			k.args = &args
		}
		return r.script(k, r.asScript(c, rest[0]))
	case command:
		return true
	case len(rest) > 0 || c.stdin == nil:
		r.incomplete = true // a file, or what comes through a pipe
		return c.last
	case c.stdin.Op == syntax.WordHdoc:
		return r.script(c, r.document(c, c.stdin.Word, unquoted))
	}
	q := document
	for _, part := range c.stdin.Word.Parts {
		if lit, ok := part.(*syntax.Lit); !ok || strings.IndexByte(lit.Value, '\\') >= 0 {
			q = verbatim
		}
	}
	if c.stdin.Hdoc == nil {
		return true
	}
	return r.script(c, r.document(c, c.stdin.Hdoc, q))
}

// readsProfile tells whether options of a shell make it read files of commands
// first: a login shell, or an interactive one.
func readsProfile(options []word) bool {
	return slices.ContainsFunc(options, func(w word) bool {
		long := strings.HasPrefix(w.text, "--")
		return w.text == "--login" || strings.HasPrefix(w.text, "-") && !long && strings.ContainsAny(w.text, "li")
	})
}

// startsStrict tells whether options of a shell include -e.
func startsStrict(options []word) bool {
	for _, w := range options {
		if strings.HasPrefix(w.text, "-") && !strings.HasPrefix(w.text, "--") && strings.Contains(w.text, "e") || w.text == "errexit" {
			return true
		}
	}
	return false
}

// shellOptions reads the options of a shell: whether it is given a command, and
// the arguments. Not ok are options that are not known, or keep it from running
// anything.
func shellOptions(words []word) (command bool, rest []word, ok bool) {
	for len(words) > 0 {
		w := words[0]
		if !w.whole {
			return command, words, command && w.one
		}
		if w.text == "-" || w.text == "--" {
			return command, words[1:], true
		}
		if w.text == "" || w.text[0] != '-' && w.text[0] != '+' {
			return command, words, true
		}
		words = words[1:]
		if strings.HasPrefix(w.text, "--") {
			switch w.text {
			case "--rcfile", "--init-file", "--help", "--version", "--dump-strings":
				return false, nil, false
			}
			continue
		}
		if strings.ContainsAny(w.text[1:], "nD") {
			return false, nil, false
		}
		command = command || w.text[0] == '-' && strings.Contains(w.text, "c")
		if strings.ContainsAny(w.text[1:], "oO") && len(words) > 0 {
			words = words[1:]
		}
	}
	return command, nil, true
}
