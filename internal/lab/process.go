package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// process is a daemon of the lab, in a process group of its own.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string        // path
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read after done
}

// start runs a daemon with its output in run/<name>.log. The kernel kills it
// when this process dies, and it holds the lab's lock until it is gone.
func (l *Lab) start(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, log: l.path("run", name+".log"), done: make(chan struct{})}
	logFile, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	cmd.Dir = l.dir
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{l.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// Pdeathsig is sent when the thread that forked ends, not the process:
		// keep it for as long as the daemon lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("lab: %s: %w", name, err)
	}
	l.running = append(l.running, p)
	return p, nil
}

// ready waits until probe succeeds, and gives up when the daemon has ended.
func (p *process) ready(ctx context.Context, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("lab: %s ended: %v\n%s", p.name, p.err, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("lab: %s does not answer: %w\n%s", p.name, err, p.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop asks the daemon to end, again and again once patience is over: buildkitd
// first lets running builds finish and at the third time leaves at once, see
// util/appcontext of BuildKit. Killing comes last, because it also hits unshare,
// which would then not wait for the containers to be gone.
func (p *process) stop(patience time.Duration) {
	group := -p.cmd.Process.Pid
	patient, insistent := time.After(patience), time.After(2*patience)
	var again <-chan time.Time
	_ = syscall.Kill(group, syscall.SIGTERM)
	for {
		select {
		case <-p.done:
			return
		case <-patient:
			again = time.Tick(50 * time.Millisecond)
		case <-again:
			_ = syscall.Kill(group, syscall.SIGTERM)
		case <-insistent:
			_ = syscall.Kill(group, syscall.SIGKILL)
			<-p.done
			return
		}
	}
}

// tail returns the end of the daemon's log.
func (p *process) tail() []byte {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	const size = 4 << 10
	return bytes.TrimSpace(data[max(0, len(data)-size):])
}

// lock takes the lock file for this process and waits for whoever has it. The
// daemons inherit it, so a lab is free only when its last daemon is gone.
func lock(ctx context.Context, path string, log io.Writer) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	told := false
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lab: %s: %w", path, err)
		}
		if !told {
			told = true
			fmt.Fprintf(log, "lab: %s: in use by another process, waiting\n", filepath.Dir(path))
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lab: %s: in use by another process: %w", filepath.Dir(path), context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
