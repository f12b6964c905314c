package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/hermetic-build/hermetic/cache/fetch"
)

// The voice. What a command puts out is on standard output, words are on
// standard error. A message is one line, "hermetic: subject: cause", lower
// case, without a full stop; what to do about it is a line of its own, "hint:
// …". Findings about files are lines of their own before the message,
// "file:line: subject: cause", so that editors find the place.

// Exit codes beside 0.
const (
	exitTrouble = 1
	exitUsage   = 2
	exitRefused = 3 // inputs are missing, or a rule is broken
)

// A fault is what ends the program: the exit code, and what is said about it.
type fault struct {
	code  int
	lines string // findings, printed as they are; "" for none
	text  string // the message, "" where lines say it all
	hints []string
}

func (f *fault) Error() string { return f.text }

// usage is a command line that makes no sense.
func usage(text, hint string) error {
	return &fault{code: exitUsage, text: text, hints: nonEmpty(hint)}
}

// trouble is what stands in the way, with something that may help.
func trouble(text, hint string) error {
	return &fault{code: exitTrouble, text: text, hints: nonEmpty(hint)}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// exited is the exit code of a program that has itself said what there is to
// say.
type exited int

func (e exited) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// An interruption is the signal that ended the program.
type interruption struct{ signal os.Signal }

func (*interruption) Error() string { return "interrupted" }

func (i *interruption) code() int {
	if s, ok := i.signal.(syscall.Signal); ok {
		return 128 + int(s)
	}
	return 128 + int(syscall.SIGINT)
}

// report says err and is the exit code that it stands for.
func (p *program) report(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[exited](err); ok {
		return int(e)
	}
	if i, ok := errors.AsType[*interruption](err); ok {
		p.say("interrupted")
		return i.code()
	}
	if errors.Is(err, context.Canceled) {
		p.say("interrupted")
		return (&interruption{}).code()
	}
	f, ok := errors.AsType[*fault](err)
	if !ok {
		f = &fault{code: exitTrouble, text: err.Error()}
	}
	f.print(p.stderr)
	return f.code
}

func (f *fault) print(w io.Writer) {
	if f.lines != "" {
		fmt.Fprintln(w, strings.TrimSuffix(f.lines, "\n"))
	}
	if f.text != "" {
		for line := range strings.SplitSeq(f.text, "\n") {
			fmt.Fprintf(w, "hermetic: %s\n", line)
		}
	}
	for _, h := range f.hints {
		fmt.Fprintf(w, "hint: %s\n", h)
	}
}

// say prints a message.
func (p *program) say(format string, args ...any) {
	fmt.Fprintf(p.stderr, "hermetic: "+format+"\n", args...)
}

// unfetched turns what fetch.All says into a fault where it is about inputs.
func unfetched(err error) error {
	e, ok := errors.AsType[*fetch.Error](err)
	if !ok {
		return err
	}
	return &fault{
		code: exitRefused, lines: e.Error(), hints: e.Hints,
		text: count(len(e.Problems), "problem", "problems") + "; no deps context was made",
	}
}

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
