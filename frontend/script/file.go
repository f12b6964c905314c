package script

import (
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// A File is a Dockerfile's raw lines. The parser of Dockerfiles joins
// continuation lines and drops comments between them; with the raw lines a
// command is found again on its own line.
type File struct {
	data   string
	starts []int // offsets of the lines
	escape byte
}

// NewFile takes the bytes of a Dockerfile and the escape character in effect
// (parser.Result.EscapeToken).
func NewFile(data []byte, escape rune) *File {
	f := &File{data: string(data), escape: byte(escape)}
	for at := 0; at < len(f.data); {
		f.starts = append(f.starts, at)
		n := strings.IndexByte(f.data[at:], '\n')
		if n < 0 {
			break
		}
		at += n + 1
	}
	return f
}

// Settings are what is in effect at an instruction.
type Settings struct {
	// Shell is the SHELL in effect; nil stands for /bin/sh -c. Nothing is said of
	// what other shells than those of POSIX run.
	Shell []string
	// Env are the variables whose values are known. It is neither changed nor
	// kept.
	Env map[string]string
}

// A source is a script and the lines of the Dockerfile that its bytes are on.
type source struct {
	text string
	segs []seg
}

// A seg says that the bytes from off on, up to the next seg, are on a line.
type seg struct{ off, line int }

// line is the line of the Dockerfile that a byte of the script is on.
func (s *source) line(off int) int {
	i, found := slices.BinarySearchFunc(s.segs, off, func(g seg, off int) int { return g.off - off })
	if !found {
		i--
	}
	if i < 0 {
		return 0
	}
	return s.segs[i].line
}

// Run reads one instruction. It never fails: Fetches and EnvFiles of what it
// cannot read are empty, and Uses is incomplete. An instruction that is not at
// its place in the file, such as an ONBUILD trigger, is reported on the first
// line of its location.
func (f *File) Run(c *instructions.RunCommand, s Settings) *Run {
	r := newReader(s)
	if !c.PrependShell {
		r.exec(f.arguments(c))
		return r.result()
	}
	shell := s.Shell
	if shell == nil {
		shell = []string{"/bin/sh", "-c"}
	}
	src, interpreter := f.script(c)
	switch {
	case src == nil:
		r.incomplete = true
	case interpreter != nil:
		r.interpret(interpreter, src)
	default:
		r.exec(append(literals(shell, lineOf(c)), word{text: src.text, whole: true, one: true, src: src, script: true}))
	}
	return r.result()
}

// Args reads what a process with these arguments does, in an environment of
// which env is what is known. That is what an exec of a graph consists of: the
// SHELL is among the arguments. Lines are 0.
func Args(args []string, env map[string]string) *Run {
	r := newReader(Settings{Env: env})
	r.exec(literals(args, 0))
	return r.result()
}

// literals are words of which all is known.
func literals(args []string, line int) []word {
	out := make([]word, len(args))
	for i, a := range args {
		out[i] = word{text: a, whole: true, one: true, src: &source{a, []seg{{0, line}}}, script: true}
	}
	return out
}

// lineOf is the first line of an instruction.
func lineOf(c *instructions.RunCommand) int {
	if at := c.Location(); len(at) > 0 {
		return at[0].Start.Line
	}
	return 0
}

// script is the text that the shell gets. A single here-document that begins
// with #! is a file, which its interpreter runs (BuildKit
// frontend/dockerfile/dockerfile2llb/convert.go, dispatchRun).
func (f *File) script(c *instructions.RunCommand) (src *source, interpreter []string) {
	if len(c.CmdLine) != 1 {
		return nil, nil
	}
	text := c.CmdLine[0]
	joined, last := f.joined(c)
	src = f.locate(text, joined, lineOf(c))
	if len(c.Files) == 0 {
		return src, nil
	}
	next := last + 1 // the line that the first here-document begins on
	if heredoc := parser.MustParseHeredoc(text); heredoc != nil {
		data := c.Files[0].Data
		if c.Files[0].Chomp {
			data = parser.ChompHeredocContent(data)
		}
		src = numbered(data, next)
		if shebang, ok := strings.CutPrefix(data, "#!"); ok {
			first, _, _ := strings.Cut(shebang, "\n")
			return src, append([]string{""}, strings.Fields(first)...)
		}
		return src, nil
	}
	var b strings.Builder
	b.WriteString(text)
	for _, file := range c.Files {
		b.WriteByte('\n')
		for line := range strings.Lines(file.Data) {
			src.segs = append(src.segs, seg{b.Len(), next})
			b.WriteString(line)
			next++
		}
		src.segs = append(src.segs, seg{b.Len(), next})
		b.WriteString(file.Name)
		next++
	}
	src.text = b.String()
	return src, nil
}

// numbered is a text whose lines follow one another in the Dockerfile.
func numbered(text string, first int) *source {
	s := &source{text: text}
	for at := 0; at < len(text); first++ {
		s.segs = append(s.segs, seg{at, first})
		n := strings.IndexByte(text[at:], '\n')
		if n < 0 {
			break
		}
		at += n + 1
	}
	return s
}

// joined is the instruction without its here-documents, as the parser joins its
// lines, and the last of these lines.
func (f *File) joined(c *instructions.RunCommand) (s *source, last int) {
	s = &source{}
	at := c.Location()
	if len(at) == 0 {
		return s, 0
	}
	first, end := at[0].Start.Line, at[len(at)-1].End.Line
	var b strings.Builder
	for n := first; n <= end && n >= 1 && n <= len(f.starts); n++ {
		line := strings.TrimRight(f.rawLine(n), "\r\n")
		if n > first {
			switch rest := strings.TrimLeft(line, " \t\v\f\r"); {
			case rest == "", strings.HasPrefix(rest, "#"):
				continue
			}
		}
		s.segs = append(s.segs, seg{b.Len(), n})
		part, more := f.continued(line)
		b.WriteString(part)
		last = n
		if !more {
			break
		}
	}
	s.text = b.String()
	return s, last
}

func (f *File) rawLine(n int) string {
	end := len(f.data)
	if n < len(f.starts) {
		end = f.starts[n]
	}
	return f.data[f.starts[n-1]:end]
}

// continued takes the escape character from the end of a line that goes on. A
// doubled one is no continuation (BuildKit frontend/dockerfile/parser,
// lineContinuationRegex).
func (f *File) continued(line string) (part string, more bool) {
	t := strings.TrimRight(line, " \t")
	if t == "" || t[len(t)-1] != f.escape {
		return line, false
	}
	t = t[:len(t)-1]
	if t != "" && t[len(t)-1] == f.escape {
		return line, false
	}
	return t, true
}

// locate finds the end of an instruction in its joined lines.
func (f *File) locate(text string, joined *source, first int) *source {
	trimmed := strings.TrimRight(joined.text, " \t\v\f\r\n")
	if text == "" || !strings.HasSuffix(trimmed, text) {
		return &source{text, []seg{{0, first}}}
	}
	return joined.slice(len(trimmed)-len(text), text)
}

// slice is the source of a text that begins at an offset of this one.
func (s *source) slice(off int, text string) *source {
	out := &source{text, []seg{{0, s.line(off)}}}
	for _, g := range s.segs {
		if g.off > off && g.off < off+len(text) {
			out.segs = append(out.segs, seg{g.off - off, g.line})
		}
	}
	return out
}

// arguments are those of a RUN in exec form, each at its place where it stands
// there as it is.
func (f *File) arguments(c *instructions.RunCommand) []word {
	joined, _ := f.joined(c)
	first := lineOf(c)
	out := literals(c.CmdLine, first)
	at := 0
	for i, a := range c.CmdLine {
		quoted := `"` + jsonEscaper.Replace(a) + `"`
		n := strings.Index(joined.text[at:], quoted)
		if n < 0 {
			continue
		}
		src := &source{a, []seg{{0, joined.line(at + n)}}}
		if len(quoted) == len(a)+2 {
			src = joined.slice(at+n+1, a)
		}
		out[i].src = src
		at += n + len(quoted)
	}
	return out
}

// jsonEscaper escapes what people escape in an exec form.
var jsonEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// baseName is the name of a program without its directory.
func baseName(s string) string {
	if s == "" || strings.HasSuffix(s, "/") {
		return ""
	}
	return path.Base(s)
}
