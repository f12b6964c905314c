package fetch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// Error is all that is wrong with the inputs of a plan.
type Error struct {
	Problems []cache.Problem // sorted
	Hints    []string        // what may help, sorted; not part of the message
}

// Error is one line a problem: "file:line: subject: cause".
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

var errDamaged = errors.New("damaged in the store")

// offlineError says that the store alone had to do, and does not.
type offlineError struct{ damage error }

func (e *offlineError) Error() string {
	if e.damage != nil {
		return e.damage.Error() + ", and offline"
	}
	return "not in the store, and offline"
}

// storeError is trouble with the disk: it stops everything, and is said once.
type storeError struct{ err error }

func (e *storeError) Error() string {
	var op *fs.PathError
	if errors.As(e.err, &op) {
		return fmt.Sprintf("%s: %v", op.Path, op.Err)
	}
	var link *os.LinkError
	if errors.As(e.err, &link) {
		return fmt.Sprintf("%s: %v", link.New, link.Err)
	}
	return e.err.Error()
}

func (e *storeError) Unwrap() error { return e.err }

// configError is a setting that makes no sense, or is missing: it stops
// everything, and is said once.
type configError struct{ text string }

func (e *configError) Error() string { return e.text }

// stopsAll tells errors that are not about one input.
func stopsAll(err error) bool {
	_, store := errors.AsType[*storeError](err)
	_, config := errors.AsType[*configError](err)
	return store || config
}

// contentError is content that is not what was asked for.
type contentError struct {
	err  error
	from string // the URL, fit for printing
}

func (e *contentError) Error() string { return fmt.Sprintf("%v (from %s)", e.err, e.from) }
func (e *contentError) Unwrap() error { return e.err }

// unverifiedError says why there is no sum to check an input against.
type unverifiedError struct{ why string }

func (e *unverifiedError) Error() string { return "not fetched: " + e.why }

// authError says why a credential that a lockfile asks for cannot be sent. It
// does not repeat it.
type authError struct{ text, hint string }

func (e *authError) Error() string { return e.text }

// isAbsence tells whether nobody has an input, or nobody can vouch for it, as
// opposed to trouble on the way or content that is wrong.
func isAbsence(err error) bool {
	_, offline := errors.AsType[*offlineError](err)
	_, unverified := errors.AsType[*unverifiedError](err)
	_, private := errors.AsType[*privateError](err)
	if offline || unverified || private {
		return true
	}
	asked, ok := errors.AsType[*askedError](err)
	return ok && !slices.ContainsFunc(asked.answers, func(err error) bool { return !isRefusal(err) })
}

// cause is the text of err for a user.
func cause(err error) string {
	if err == nil {
		return "not in the store"
	}
	return err.Error()
}

// findings are the problems of all items that are still wanted; nil for none.
// Those that one unreachable host explains are one problem.
func (r *run) findings() *Error {
	e := &Error{}
	shared := map[string][]*item{}
	for _, it := range r.items {
		if it.state != wanted {
			continue
		}
		e.hint(it.err)
		if isUnreachable(it.err) {
			shared[cause(it.err)] = append(shared[cause(it.err)], it)
			continue
		}
		e.Problems = append(e.Problems, it.Problem(problemKind(it.err), cause(it.err)))
	}
	for text, items := range shared {
		slices.SortFunc(items, func(a, b *item) int { return a.Origin.Compare(b.Origin) })
		p := items[0].Problem(cache.Missing, text)
		if n := len(items) - 1; n > 0 {
			p.Subject += fmt.Sprintf(" and %d more", n)
		}
		e.Problems = append(e.Problems, p)
	}
	if len(e.Problems) == 0 {
		return nil
	}
	e.Problems = cache.SortProblems(e.Problems)
	slices.Sort(e.Hints)
	e.Hints = slices.Compact(e.Hints)
	return e
}

func problemKind(err error) cache.ProblemKind {
	if _, wrong := errors.AsType[*contentError](err); wrong {
		return cache.Corrupt
	}
	if _, absent := errors.AsType[*absentError](err); absent {
		return cache.Uncovered
	}
	return cache.Missing
}

// hint adds what may help against err.
func (e *Error) hint(err error) {
	if p, ok := errors.AsType[*privateError](err); ok {
		e.Hints = append(e.Hints, fmt.Sprintf("%s=… keeps modules from proxies; where one serves them, set GONOPROXY=none and GOPROXY to it, or vendor them", p.variable))
	}
	if asked, ok := errors.AsType[*askedError](err); ok {
		if asked.end == entryDirect {
			e.Hints = append(e.Hints, "GOPROXY=direct needs version control, which is not used here; set GOPROXY to a module proxy")
		}
		for _, a := range asked.answers {
			if t, ok := errors.AsType[*transferError](a); ok && t.hint != "" {
				e.Hints = append(e.Hints, t.hint)
			}
		}
	} else if t, ok := errors.AsType[*transferError](err); ok && t.hint != "" {
		e.Hints = append(e.Hints, t.hint)
	}
	if auth, ok := errors.AsType[*authError](err); ok {
		e.Hints = append(e.Hints, auth.hint)
	}
	if _, ok := errors.AsType[*offlineError](err); ok {
		e.Hints = append(e.Hints, "run once without offline mode")
	}
}
