package fetch

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// patience is how often and after how long a transfer is tried again.
type patience struct {
	tries   int
	unit    time.Duration // before the second try; doubles each time
	longest time.Duration // a server that asks for more is not waited for
}

// defaultPatience bears with some seconds of trouble. Tests have less of it.
var defaultPatience = patience{tries: 5, unit: 500 * time.Millisecond, longest: 2 * time.Minute}

// delay is how long to wait after the given try: twice as long each time, less
// up to a half by chance, so that the clients of a server that comes back do
// not come back all at once.
func (p patience) delay(try int) time.Duration {
	full := min(p.unit<<min(try-1, 20), p.longest)
	return full - rand.N(full/2+1)
}

// retryAfter reads the header of that name (RFC 9110, 10.2.3): seconds or a
// date; 0 for neither.
func retryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(value); err == nil && n >= 0 {
		return time.Duration(min(n, 1<<30)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A host remembers how one server behaves, so that hundreds of transfers do
// not each wait for one that is down.
type host struct {
	mu       sync.Mutex
	givenUp  int // transfers given up since the last one that was answered
	last     *transferError
	notUntil time.Time
}

// lostPatience is how many transfers are given up, with no answer to any other
// between them, before the rest get one try only, or none.
const lostPatience = 4

// tries is how often a transfer may be tried that failed like this.
func (h *host) tries(p patience, failure *transferError) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.givenUp >= lostPatience:
		return 1
	case failure.slow:
		return min(p.tries, 2)
	}
	return p.tries
}

// isLost is why nothing more is asked of a server that cannot be reached.
func (h *host) isLost() *transferError {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.givenUp >= lostPatience && h.last.unreachable {
		return h.last
	}
	return nil
}

func (h *host) gaveUp(failure *transferError) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.givenUp++
	h.last = failure
}

func (h *host) answered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.givenUp = 0
}

// pause keeps all transfers from a server that asked to be left alone.
func (h *host) pause(asked time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until := time.Now().Add(asked); until.After(h.notUntil) {
		h.notUntil = until
	}
}

// wait waits until the server may be asked.
func (h *host) wait(ctx context.Context) error {
	h.mu.Lock()
	until := h.notUntil
	h.mu.Unlock()
	if d := time.Until(until); d > 0 {
		return sleep(ctx, d)
	}
	return nil
}
