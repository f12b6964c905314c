package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/console"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/opencontainers/go-digest"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/fetch"
)

// progressModes are the values of --progress: those of docker build, with json
// for one JSON object a line (see jsonProgress).
var progressModes = []string{"auto", "plain", "tty", "json", "quiet"}

// showProgress shows fetching on standard error until the function that it
// returns is called, which prints the notes. A tty mode without a terminal is
// a plain one.
func (p *program) showProgress(mode string) (fetch.Progress, func()) {
	switch mode {
	case "quiet":
		return nil, func() {}
	case "json":
		return &jsonProgress{out: json.NewEncoder(p.stderr)}, func() {}
	}
	b := &board{out: p.stderr, mode: progressui.PlainMode, interval: 100 * time.Millisecond}
	if mode != "plain" && isTerminal(p.stderr) {
		b.mode = progressui.TtyMode
	}
	return b, func() {
		b.close()
		for _, n := range b.notes {
			p.say("%s", n)
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := console.ConsoleFromFile(f)
	return err == nil
}

// jsonProgress writes one JSON object a line, for programs:
//
//	{"event":"begin","missing":2,"held":40}
//	{"event":"start","input":"example.com/a@v1.0.0","at":"go.sum:1"}
//	{"event":"finish","input":"example.com/a@v1.0.0","at":"go.sum:1","bytes":1234}
//	{"event":"finish","input":"example.com/b@v1.0.0","at":"go.sum:3","error":"…"}
//	{"event":"note","text":"…"}
type jsonProgress struct {
	mu    sync.Mutex
	out   *json.Encoder
	bytes map[cache.ID]int64
}

func (j *jsonProgress) put(v any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.out.Encode(v) // a standard error that is gone is no reason to stop
}

// Begin implements fetch.Progress.
func (j *jsonProgress) Begin(missing, held []cache.Input) {
	j.put(struct {
		Event   string `json:"event"`
		Missing int    `json:"missing"`
		Held    int    `json:"held"`
	}{"begin", len(missing), len(held)})
}

// jsonInput is an event about one input.
type jsonInput struct {
	Event string `json:"event"`
	Input string `json:"input"`
	At    string `json:"at"`
	Bytes int64  `json:"bytes,omitempty"`
	Error string `json:"error,omitempty"`
}

// Start implements fetch.Progress.
func (j *jsonProgress) Start(in cache.Input) {
	j.put(jsonInput{Event: "start", Input: in.Subject(), At: in.Origin.String()})
}

// Advance implements fetch.Progress.
func (j *jsonProgress) Advance(in cache.Input, done, _ int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bytes == nil {
		j.bytes = map[cache.ID]int64{}
	}
	j.bytes[in.ID()] = done
}

// Finish implements fetch.Progress.
func (j *jsonProgress) Finish(in cache.Input, err error) {
	j.mu.Lock()
	e := jsonInput{Event: "finish", Input: in.Subject(), At: in.Origin.String(), Bytes: j.bytes[in.ID()]}
	j.mu.Unlock()
	if err != nil {
		e.Bytes, e.Error = 0, err.Error()
	}
	j.put(e)
}

// Note implements fetch.Progress.
func (j *jsonProgress) Note(text string) {
	j.put(struct {
		Event string `json:"event"`
		Text  string `json:"text"`
	}{"note", text})
}

// A board shows fetching as docker build shows steps: one step a lockfile.
// Inputs only count; large ones, which take time, have a line of their own.
// The display is fed by a ticker, so that thousands of events cost nothing.
type board struct {
	out      io.Writer
	mode     progressui.DisplayMode
	interval time.Duration

	mu    sync.Mutex
	locks []*lockStep // sorted by file
	notes []string

	stop, done chan struct{} // nil until there is something to show
}

// A lockStep is what is fetched for one lockfile.
type lockStep struct {
	file    string
	noun    string
	left    map[string]int // inputs still to come, by "module@version"
	total   int            // modules to fetch
	held    int            // modules that were there
	failed  map[string]bool
	bytes   map[cache.ID]int64
	large   map[cache.ID]*client.VertexStatus
	started time.Time
	ended   *time.Time
	changed bool
}

// largeInput is the size from which an input has a line of its own.
const largeInput = 8 << 20

// Begin implements fetch.Progress.
func (b *board) Begin(missing, held []cache.Input) {
	b.begin(missing, held)
	if len(b.locks) > 0 && b.stop == nil {
		b.start()
	}
}

func (b *board) begin(missing, held []cache.Input) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for _, in := range missing {
		s := b.step(in, now)
		s.ended = nil
		if s.left[moduleOf(in)]++; s.left[moduleOf(in)] == 1 {
			s.total++
		}
	}
	there := map[string]bool{}
	for _, in := range held {
		s := b.step(in, now)
		if key := in.Origin.File + "\n" + moduleOf(in); s.left[moduleOf(in)] == 0 && !there[key] {
			there[key] = true
			s.held++
		}
	}
	for _, s := range b.locks {
		if s.total == 0 {
			s.ended = &now
		}
	}
	slices.SortFunc(b.locks, func(a, b *lockStep) int { return strings.Compare(a.file, b.file) })
}

func moduleOf(in cache.Input) string { return in.Name + "@" + in.Version }

// step is the step of in's lockfile.
func (b *board) step(in cache.Input, now time.Time) *lockStep {
	for _, s := range b.locks {
		if s.file == in.Origin.File {
			return s
		}
	}
	noun := "package"
	if in.Ecosystem == "gomod" {
		noun = "module"
	}
	s := &lockStep{
		file: in.Origin.File, noun: noun, started: now, changed: true,
		left: map[string]int{}, failed: map[string]bool{},
		bytes: map[cache.ID]int64{}, large: map[cache.ID]*client.VertexStatus{},
	}
	b.locks = append(b.locks, s)
	return s
}

// start sets the display going.
func (b *board) start() {
	display, err := progressui.NewDisplay(b.out, b.mode, progressui.WithPhase("Fetching"))
	if err != nil {
		return // fetching does not depend on being seen
	}
	b.stop, b.done = make(chan struct{}), make(chan struct{})
	status := make(chan *client.SolveStatus)
	go func() {
		defer close(b.done)
		display.UpdateFrom(context.Background(), status) // ends with status alone
	}()
	status <- b.snapshot()
	go func() {
		defer close(status)
		tick := time.NewTicker(b.interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				status <- b.snapshot()
			case <-b.stop:
				b.abandon()
				status <- b.snapshot()
				return
			}
		}
	}()
}

// close ends the display.
func (b *board) close() {
	if b.stop != nil {
		close(b.stop)
		<-b.done
	}
}

// Start implements fetch.Progress.
func (b *board) Start(cache.Input) {}

// Advance implements fetch.Progress.
func (b *board) Advance(in cache.Input, done, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	s := b.step(in, now)
	s.bytes[in.ID()] = done
	s.changed = true
	if total < largeInput {
		return
	}
	line := s.large[in.ID()]
	if line == nil {
		line = &client.VertexStatus{ID: in.Subject(), Vertex: s.digest(), Started: &now}
		s.large[in.ID()] = line
	}
	line.Current, line.Total = done, total
}

// Finish implements fetch.Progress.
func (b *board) Finish(in cache.Input, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	s := b.step(in, now)
	s.changed = true
	if err != nil {
		s.failed[moduleOf(in)] = true
	}
	if line := s.large[in.ID()]; line != nil {
		line.Completed = &now
	}
	if s.left[moduleOf(in)]--; s.left[moduleOf(in)] <= 0 {
		delete(s.left, moduleOf(in))
	}
	if len(s.left) == 0 {
		s.ended = &now
	}
}

// Note implements fetch.Progress.
func (b *board) Note(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes = append(b.notes, text)
}

// abandon marks what was not finished as canceled.
func (b *board) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for _, s := range b.locks {
		if s.ended == nil {
			s.ended, s.changed = &now, true
		}
	}
}

// snapshot is what has changed since the last one, as the display wants it.
func (b *board) snapshot() *client.SolveStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := &client.SolveStatus{}
	for _, s := range b.locks {
		if !s.changed {
			continue
		}
		s.changed = false
		v := s.vertex()
		if b.mode == progressui.TtyMode && s.ended == nil { // this display overwrites names
			v.Name = fmt.Sprintf("[%s] %d/%s", s.file, s.total-len(s.left), s.size())
		}
		out.Vertexes = append(out.Vertexes, v)
		out.Statuses = append(out.Statuses, s.statuses()...)
	}
	return out
}

func (s *lockStep) digest() digest.Digest { return digest.FromString("fetch " + s.file) }

// size is how much there is to fetch, in words.
func (s *lockStep) size() string {
	switch {
	case s.total == 0:
		return count(s.held, s.noun, s.noun+"s")
	case s.held == 0:
		return count(s.total, s.noun, s.noun+"s")
	}
	return fmt.Sprintf("%s (%d in the store)", count(s.total, s.noun, s.noun+"s"), s.held)
}

// vertex is the step itself.
func (s *lockStep) vertex() *client.Vertex {
	v := &client.Vertex{
		Digest: s.digest(), Name: fmt.Sprintf("[%s] %s", s.file, s.size()),
		Started: &s.started, Completed: s.ended, Cached: s.total == 0,
	}
	switch {
	case s.ended == nil:
	case len(s.left) > 0:
		v.Error = context.Canceled.Error()
	case len(s.failed) > 0:
		v.Error = fmt.Sprintf("%d of %s not fetched", len(s.failed), count(s.total, s.noun, s.noun+"s"))
	}
	return v
}

// statuses are the lines below the step: all bytes so far, and large inputs.
func (s *lockStep) statuses() []*client.VertexStatus {
	now := time.Now()
	var sum int64
	for _, n := range s.bytes {
		sum += n
	}
	if sum == 0 {
		return nil
	}
	out := []*client.VertexStatus{{ID: "received", Vertex: s.digest(), Current: sum, Timestamp: now, Started: &s.started, Completed: s.ended}}
	for _, line := range s.large {
		l := *line
		l.Timestamp = now
		if l.Completed == nil {
			l.Completed = s.ended
		}
		out = append(out, &l)
	}
	slices.SortFunc(out[1:], func(a, b *client.VertexStatus) int {
		return cmp.Or(a.Started.Compare(*b.Started), strings.Compare(a.ID, b.ID))
	})
	return out
}
