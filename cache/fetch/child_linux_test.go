package fetch

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

func init() {
	children["fetch"] = func() { childExit(fetchInto(os.Getenv("FETCH_TEST_STORE"))) }
	children["tmpfs"] = func() {
		dir := os.Getenv("FETCH_TEST_STORE")
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
			fmt.Println("no mount:", err)
			os.Exit(3)
		}
		childExit(fetchInto(dir))
	}
	children["rlimit"] = func() {
		signal.Ignore(syscall.SIGXFSZ)
		limit := syscall.Rlimit{Cur: 20 << 10, Max: 20 << 10}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			fmt.Println("no limit:", err)
			os.Exit(3)
		}
		childExit(fetchInto(os.Getenv("FETCH_TEST_STORE")))
	}
}

// childExit prints the error alone.
func childExit(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// fetchInto fetches what FETCH_TEST_PROJECT needs.
func fetchInto(dir string) error {
	defaultPatience.unit = time.Millisecond
	plan := ecosystem.New(os.DirFS(os.Getenv("FETCH_TEST_PROJECT")), []cache.Package{{Type: "gomod", Path: "."}}, ecosystem.Options{})
	s, err := cache.Open(dir)
	if err != nil {
		return err
	}
	_, err = All(context.Background(), s, plan, Options{})
	return err
}

// child is this binary as another process.
func child(t *testing.T, kind string, vars ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append([]string{"FETCH_TEST_CHILD=" + kind, "GOENV=off", "HOME=" + t.TempDir()}, vars...)
	return cmd
}

// project is a directory with a go.mod and go.sum.
func project(t *testing.T, mods []testModule) string {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/main\n", "go.sum": goSum(mods)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func noisyModules(t *testing.T, n, size int) []testModule {
	var mods []testModule
	for i := range n {
		mv := module.Version{Path: fmt.Sprintf("example.com/m%02d", i), Version: "v1.0.0"}
		mods = append(mods, newModule(t, mv, []txtar.File{{Name: mv.String() + "/noise", Data: noise(size + i)}}))
	}
	return mods
}

// TestKill kills two processes that share a store, at moments that chance
// picks, and looks at what is left: whatever it is, it is right.
func TestKill(t *testing.T) {
	const rounds = 50
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	mods := noisyModules(t, 30, 60<<10)
	p := serve(t, mods)
	s := openStore(t)
	vars := []string{"GOPROXY=" + p.URL, "FETCH_TEST_STORE=" + s.Dir(), "FETCH_TEST_PROJECT=" + project(t, mods)}

	whole := time.Now()
	if out, err := child(t, "fetch", vars...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	length := min(time.Since(whole), 200*time.Millisecond)
	killed := 0
	for range rounds {
		// Without the index everything is fetched again, over what is there.
		if err := os.RemoveAll(filepath.Join(s.Dir(), "index")); err != nil {
			t.Fatal(err)
		}
		var pair [2]*exec.Cmd
		for i := range pair {
			pair[i] = child(t, "fetch", vars...)
			if err := pair[i].Start(); err != nil {
				t.Fatal(err)
			}
		}
		for _, cmd := range pair {
			time.Sleep(time.Duration(chance.Int64N(int64(length))))
			cmd.Process.Kill()
		}
		for _, cmd := range pair {
			if cmd.Wait() != nil {
				killed++
			}
		}
		checkBlobs(t, s)
		checkIndex(t, s)
	}
	if killed < rounds/5 {
		t.Errorf("only %d of %d processes were killed at work", killed, 2*rounds)
	}
	plan := planOf(t, goSum(mods))
	o := via(t, p.URL)
	o.Verify = true
	mustFetch(t, s, plan, o)
	o.Offline = true
	m := mustFetch(t, s, plan, o)
	if len(m.Entries) != len(plan.Inputs) {
		t.Errorf("%d of %d entries", len(m.Entries), len(plan.Inputs))
	}
}

// checkIndex fails where an index line is not whole, or its blob is not there.
func checkIndex(t *testing.T, s *cache.Store) {
	t.Helper()
	lines, _ := filepath.Glob(filepath.Join(s.Dir(), "index/*/*/*"))
	for _, name := range lines {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text, size, _ := strings.Cut(strings.TrimSuffix(string(data), "\n"), " ")
		sum, err := cache.ParseSum(text)
		n, err2 := strconv.ParseInt(size, 10, 64)
		if err != nil || err2 != nil {
			t.Errorf("%s: %q", name, data)
			continue
		}
		if info, err := os.Stat(s.Path(cache.Blob{Sum: sum, Size: n})); err != nil || info.Size() != n {
			t.Errorf("%s: points to what is not there: %v", name, err)
		}
	}
}

// A full disk is said once, whatever the number of files that do not fit.
func TestDiskFull(t *testing.T) {
	mods := noisyModules(t, 40, 100<<10)
	p := serve(t, mods)
	for _, test := range []struct{ kind, want string }{
		{"tmpfs", ": no space left on device"},
		{"rlimit", ": file too large"},
	} {
		t.Run(test.kind, func(t *testing.T) {
			dir := t.TempDir()
			cmd := child(t, test.kind, "GOPROXY="+p.URL, "FETCH_TEST_STORE="+dir, "FETCH_TEST_PROJECT="+project(t, mods))
			if test.kind == "tmpfs" {
				cmd.SysProcAttr = &syscall.SysProcAttr{
					Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
					UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
					GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
				}
			}
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			err := cmd.Run()
			if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() == 3 {
				t.Skipf("this machine does not let a test have a small disk: %v %s", err, &out)
			}
			got := out.String()
			if err == nil || strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, dir) || !strings.HasSuffix(got, test.want+"\n") {
				t.Errorf("%v: %s", err, got)
			}
			left, _ := filepath.Glob(filepath.Join(dir, "tmp/*"))
			if len(left) > 0 { // of the tmpfs nothing is left to see
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
