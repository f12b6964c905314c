package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/console"
	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/fetch"
)

// inputAt is an input of go.sum; its kind is "mod" where the name says so.
func inputAt(line int, name string) cache.Input {
	name, isMod := strings.CutSuffix(name, "/go.mod")
	in := cache.Input{Ecosystem: "gomod", Kind: "zip", Name: name, Version: "v1.0.0", Origin: cache.Origin{File: "go.sum", Line: line}}
	if isMod {
		in.Kind = "mod"
	}
	return in
}

var (
	inA    = inputAt(1, "example.com/a")
	inAMod = inputAt(2, "example.com/a/go.mod")
	inB    = inputAt(3, "example.com/b")
	inC    = inputAt(5, "example.com/c")
)

// These are what fetch.All tells a Progress.
var (
	eventsNone = func(fetch.Progress) {}
	eventsHeld = func(p fetch.Progress) {
		p.Note("go.mod:3: golang.org/toolchain@v1: not fetched: some reason")
		p.Begin(nil, []cache.Input{inA, inAMod, inB})
	}
	eventsGood = func(p fetch.Progress) {
		p.Begin([]cache.Input{inA, inAMod, inB}, []cache.Input{inC})
		p.Start(inA)
		p.Advance(inA, 1000, -1)
		p.Advance(inA, 2000, -1)
		p.Finish(inA, nil)
		p.Start(inAMod)
		p.Finish(inAMod, nil)
		p.Start(inB)
		p.Advance(inB, 9<<20, 10<<20)
		p.Advance(inB, 10<<20, 10<<20)
		p.Finish(inB, nil)
	}
	eventsBad = func(p fetch.Progress) {
		p.Begin([]cache.Input{inA, inAMod, inB}, nil)
		p.Start(inA)
		p.Finish(inA, errors.New("a reason"))
		p.Start(inAMod)
		p.Finish(inAMod, errors.New("a reason"))
		p.Start(inB)
		p.Finish(inB, nil)
	}
	eventsCanceled = func(p fetch.Progress) {
		p.Begin([]cache.Input{inA, inB}, nil)
		p.Start(inA)
		p.Finish(inA, nil)
		p.Start(inB)
	}
)

// unsteady is what depends on the moment: times, and lines about what is not
// done yet.
var unsteady = regexp.MustCompile(` \d+\.\ds|(?m:^#1 .*\d[kM]?B$\n)`)

// show is what a mode prints of events, but for what is unsteady.
func show(t *testing.T, mode string, events func(fetch.Progress)) string {
	t.Helper()
	var out bytes.Buffer
	p := &program{stderr: &out}
	progress, done := p.showProgress(mode)
	if progress != nil {
		events(progress)
	}
	done()
	return unsteady.ReplaceAllString(out.String(), "")
}

func TestProgressPlain(t *testing.T) {
	for _, test := range []struct {
		name   string
		events func(fetch.Progress)
		want   string
	}{
		{"nothing", eventsNone, ""},
		{"held", eventsHeld, "#1 [go.sum] 2 modules\n#1 CACHED\nhermetic: go.mod:3: golang.org/toolchain@v1: not fetched: some reason\n"},
		{"good", eventsGood, "#1 [go.sum] 2 modules (1 in the store)\n#1 received 10.49MB done\n#1 example.com/b@v1.0.0 10.49MB / 10.49MB done\n#1 DONE\n"},
		{"bad", eventsBad, "#1 [go.sum] 2 modules\n#1 ERROR: 1 of 2 modules not fetched\n------\n > [go.sum] 2 modules:\n------\n"},
		{"canceled", eventsCanceled, "#1 [go.sum] 2 modules\n#1 CANCELED\n"},
	} {
		for _, mode := range []string{"plain", "auto", "tty"} { // buffer is no terminal
			if diff := cmp.Diff(test.want, show(t, mode, test.events)); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", test.name, mode, diff)
			}
		}
	}
}

func TestProgressJSON(t *testing.T) {
	for _, test := range []struct {
		name   string
		events func(fetch.Progress)
		want   string
	}{
		{"nothing", eventsNone, ""},
		{"held", eventsHeld, `{"event":"note","text":"go.mod:3: golang.org/toolchain@v1: not fetched: some reason"}
{"event":"begin","missing":0,"held":3}
`},
		{"good", eventsGood, `{"event":"begin","missing":3,"held":1}
{"event":"start","input":"example.com/a@v1.0.0","at":"go.sum:1"}
{"event":"finish","input":"example.com/a@v1.0.0","at":"go.sum:1","bytes":2000}
{"event":"start","input":"example.com/a@v1.0.0/go.mod","at":"go.sum:2"}
{"event":"finish","input":"example.com/a@v1.0.0/go.mod","at":"go.sum:2"}
{"event":"start","input":"example.com/b@v1.0.0","at":"go.sum:3"}
{"event":"finish","input":"example.com/b@v1.0.0","at":"go.sum:3","bytes":10485760}
`},
		{"bad", eventsBad, `{"event":"begin","missing":3,"held":0}
{"event":"start","input":"example.com/a@v1.0.0","at":"go.sum:1"}
{"event":"finish","input":"example.com/a@v1.0.0","at":"go.sum:1","error":"a reason"}
{"event":"start","input":"example.com/a@v1.0.0/go.mod","at":"go.sum:2"}
{"event":"finish","input":"example.com/a@v1.0.0/go.mod","at":"go.sum:2","error":"a reason"}
{"event":"start","input":"example.com/b@v1.0.0","at":"go.sum:3"}
{"event":"finish","input":"example.com/b@v1.0.0","at":"go.sum:3"}
`},
	} {
		if diff := cmp.Diff(test.want, show(t, "json", test.events)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestProgressQuiet(t *testing.T) {
	p := &program{stderr: io.Discard}
	if progress, _ := p.showProgress("quiet"); progress != nil {
		t.Errorf("got a %T", progress)
	}
}

// On a terminal the display is that of docker build.
func TestProgressTTY(t *testing.T) {
	for _, test := range []struct {
		name   string
		events func(fetch.Progress)
		want   []string
	}{
		{"good", eventsGood, []string{"[+] Fetching", "(1/1) FINISHED", "[go.sum] 2 modules (1 in the store)", "example.com/b@v1.0.0", "10.49MB / 10.49MB"}},
		{"held", eventsHeld, []string{"CACHED [go.sum] 2 modules", "hermetic: go.mod:3: "}},
		{"bad", eventsBad, []string{"ERROR [go.sum] 2 modules"}},
		{"canceled", eventsCanceled, []string{"CANCELED [go.sum] 2 modules"}},
	} {
		for _, mode := range []string{"tty", "auto"} {
			out := onTerminal(t, func(tty *os.File) {
				progress, done := (&program{stderr: tty}).showProgress(mode)
				test.events(progress)
				done()
			})
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("%s, %s: no %q in:\n%s", test.name, mode, want, out)
				}
			}
		}
	}
}

// onTerminal is what f writes to a terminal of its own.
func onTerminal(t *testing.T, f func(tty *os.File)) string {
	t.Helper()
	master, name, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := master.Resize(console.WinSize{Width: 120, Height: 40}); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		data, _ := io.ReadAll(master) // ends with an error when the other side is closed
		read <- string(data)
	}()
	f(tty)
	tty.Close()
	return <-read
}

// Thousands of events from many goroutines, with the display at work.
func TestProgressBusy(t *testing.T) {
	var out bytes.Buffer
	b := &board{out: &out, mode: "plain", interval: time.Millisecond}
	var inputs []cache.Input
	for i := range 2000 {
		in := inputAt(i+1, fmt.Sprintf("example.com/m%d", i))
		in.Origin.File = fmt.Sprintf("dir%d/go.sum", i%3)
		inputs = append(inputs, in)
	}
	b.Begin(inputs, nil)
	var wg sync.WaitGroup
	for _, in := range inputs {
		wg.Go(func() {
			b.Start(in)
			b.Advance(in, 10, 20)
			b.Advance(in, 20, 20)
			b.Finish(in, nil)
		})
	}
	wg.Wait()
	b.close()
	for i, n := range []int{667, 667, 666} {
		if want := fmt.Sprintf("[dir%d/go.sum] %d modules\n", i, n); !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	if n := strings.Count(out.String(), "DONE"); n != 3 {
		t.Errorf("%d steps are done:\n%s", n, &out)
	}
}
