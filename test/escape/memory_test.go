package escape

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// memoryWatch looks at the processes of the frontend for as long as the tests
// run, and remembers the most memory that each had. The layout step inside of a
// build is the same program. Processes of other labs are not looked at.
type memoryWatch struct {
	mu     sync.Mutex
	most   int64
	builds map[string]*int64 // by the mark of the build
	whose  map[string]string // mark by process; "" where it has none
}

// comm is the name of the frontend's processes, as the kernel cuts it.
const comm = "hermetic-fronte"

func watchMemory() *memoryWatch {
	w := &memoryWatch{builds: map[string]*int64{}, whose: map[string]string{}}
	go func() {
		for range time.Tick(15 * time.Millisecond) {
			w.look()
		}
	}()
	return w
}

// follow begins to watch a build; done tells what was the most. What a process
// without a mark had counts for all builds under way.
func (w *memoryWatch) follow(at string) (done func() int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	most := new(int64)
	w.builds[at] = most
	return func() int64 {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.builds, at)
		return *most
	}
}

func (w *memoryWatch) peak() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most
}

func (w *memoryWatch) look() {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if name, err := os.ReadFile(dir + "/comm"); err != nil || string(bytes.TrimSpace(name)) != comm {
			continue
		}
		status, err := os.ReadFile(dir + "/status")
		if err != nil || !isOurs(dir) {
			continue
		}
		if most := field(status, "VmHWM") << 10; most > 0 {
			w.note(dir, most)
		}
	}
}

// note takes down what one process had.
func (w *memoryWatch) note(dir string, most int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.most = max(w.most, most)
	at, known := w.whose[dir]
	if !known {
		env, _ := os.ReadFile(dir + "/environ")
		_, after, _ := bytes.Cut(env, []byte("label:"+mark+"="))
		value, _, _ := bytes.Cut(after, []byte{0})
		at = string(value)
		w.whose[dir] = at
	}
	for name, had := range w.builds {
		if at == "" || at == name {
			*had = max(*had, most)
		}
	}
}

// isOurs tells whether a process descends from this one.
func isOurs(dir string) bool {
	self := int64(os.Getpid())
	for range 32 {
		status, err := os.ReadFile(dir + "/status")
		if err != nil {
			return false
		}
		parent := field(status, "PPid")
		if parent == self {
			return true
		}
		if parent <= 1 {
			return false
		}
		dir = fmt.Sprintf("/proc/%d", parent)
	}
	return false
}

// field is a number of a /proc/PID/status.
func field(status []byte, name string) int64 {
	_, after, _ := strings.Cut(string(status), "\n"+name+":")
	words := strings.Fields(after)
	if len(words) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(words[0], 10, 64)
	return n
}
