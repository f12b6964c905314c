package main

import (
	"archive/zip"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/goproxytest"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"

	"github.com/hermetic-build/hermetic/internal/lab/registrytest"
)

var update = flag.Bool("update", false, "rewrite the golden parts of testdata/script")

// TestMain makes this binary the programs that scripts run.
func TestMain(m *testing.M) {
	program := func() {
		pluginDirs = nil // what this machine has is no part of a test
		os.Exit(mainExit())
	}
	testscript.Main(m, map[string]func(){"hermetic": program, "docker-hermetic": program, "hermeto": program, "cachi2": program})
}

// TestScript runs each script of testdata/script, one a behaviour. Beside the
// commands of testscript they have
//
//	goproxy             serve the modules of testdata/mod and example.com/big on
//	                    loopback; MIRROR and GOPROXY are its URL
//	gosum FILE MODULE@VERSION[/go.mod]…   write a go.sum of these modules
//	fileserver DIR FILE…  serve DIR on loopback, what is in its "private" only to
//	                    user:s3cret; "@FILES@" in each FILE becomes its URL; below
//	                    "short", "long", "other" and "html" it lies about DIR (liar)
//	sums FILE…          make "@SUM NAME@" the sha256 of the file NAME
//	crate KIND NAME-VERSION FILE   write a crate: good, bomb, link, climb, device, twice
//	sdist DIR FILE      pack the directory into a source distribution
//	pipindex DIR URL[#FRAGMENT]…   write the page of a package in an index
//	registry [USER PASSWORD]  serve a registry on loopback, REGISTRY is its host
//	uploads             print what was sent to it since the last time
//	gitrepo DIR [URL]   make DIR a git repository with one commit, always the same
//	                    for the same files, and URL as its remote "origin"
//	workdir FILE…       make "@WORK@" the directory of the script
//	hangproxy           serve nothing: requests wait until the script ends
//	waitrequest         wait until hangproxy has been asked
//	waitfile FILE       wait until the file is there
//	conforms findings|report|sarif FILE   hold the file to its schema
//	dates FILE…         make "@+10d@" the time ten days from now
//	flipbit FILE        damage one bit of the file in its middle
//	tree DIR            print the files below DIR with mode and size
//	exits CODE PROGRAM ARG…   run the program, which must exit with this code
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup:         setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"goproxy": goproxyCmd, "fileserver": fileserverCmd, "gitrepo": gitrepoCmd, "workdir": workdirCmd, "sums": sumsCmd, "crate": crateCmd, "sdist": sdistCmd, "pipindex": pipindexCmd, "gosum": gosumCmd, "hangproxy": hangproxyCmd, "waitrequest": waitrequestCmd,
			"waitfile": waitfileCmd, "conforms": conformsCmd, "dates": datesCmd,
			"registry": registryCmd, "uploads": uploadsCmd,
			"flipbit": flipbitCmd, "tree": treeCmd, "exits": exitsCmd,
		},
	})
}

// setupScript gives a script a home of its own and no way to any network.
func setupScript(env *testscript.Env) error {
	programs, _, _ := strings.Cut(env.Getenv("PATH"), string(os.PathListSeparator))
	env.Setenv("PROGRAMS", programs)
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "cache"))
	env.Setenv("GOPROXY", "off")
	env.Setenv("GOSUMDB", "off")
	env.Setenv("GOENV", "off")
	for _, name := range []string{"DOCKER_CONFIG", "BUILDKIT_HOST", "BUILDX_BUILDER", "HERMETIC_STORE", "HERMETIC_FRONTEND"} {
		env.Setenv(name, "")
	}
	return nil
}

func goproxyCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: goproxy")
	}
	dir := filepath.Join(ts.Getenv("WORK"), ".mod")
	ts.Check(os.CopyFS(dir, os.DirFS("testdata/mod")))
	ts.Check(bigModule(filepath.Join(dir, "example.com_big_v1.0.0")))
	server, err := goproxytest.NewServer(dir, "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(server.Close)
	ts.Setenv("MIRROR", server.URL)
	ts.Setenv("GOPROXY", server.URL)
}

// bigModule makes a module whose zip is too large for the pack of a view.
func bigModule(dir string) error {
	noise := make([]byte, 100<<10)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	const mod = "module example.com/big\n"
	return errors.Join(
		os.Mkdir(dir, 0o755),
		os.WriteFile(filepath.Join(dir, ".mod"), []byte(mod), 0o644),
		os.WriteFile(filepath.Join(dir, ".info"), []byte(`{"Version":"v1.0.0"}`), 0o644),
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644),
		os.WriteFile(filepath.Join(dir, "noise"), noise, 0o644))
}

func gosumCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: gosum FILE MODULE@VERSION[/go.mod]...")
	}
	var out strings.Builder
	for _, arg := range args[1:] {
		name, version, _ := strings.Cut(arg, "@")
		sum, err := goSum(ts.Getenv("MIRROR"), module.Version{Path: name, Version: version})
		ts.Check(err)
		fmt.Fprintf(&out, "%s %s %s\n", name, version, sum)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(out.String()), 0o644))
}

// goSum asks a proxy for a module and computes its line in go.sum by the
// go command's own library.
func goSum(proxy string, m module.Version) (string, error) {
	version, lone := strings.CutSuffix(m.Version, "/go.mod")
	path, err := module.EscapePath(m.Path)
	if err != nil {
		return "", err
	}
	if lone {
		data, err := getAll(proxy + "/" + path + "/@v/" + version + ".mod")
		if err != nil {
			return "", err
		}
		return dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		})
	}
	data, err := getAll(proxy + "/" + path + "/@v/" + version + ".zip")
	if err != nil {
		return "", err
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", err
	}
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	return dirhash.Hash1(names, func(name string) (io.ReadCloser, error) { return z.Open(name) })
}

func getAll(url string) ([]byte, error) {
	resp, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s: %s", url, resp.Status))
	}
	return data, err
}

func fileserverCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: fileserver DIR FILE...")
	}
	files := liar(http.FileServer(http.Dir(ts.MkAbs(args[0]))), ts.MkAbs(args[0]))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if strings.HasPrefix(r.URL.Path, "/private/") && (user != "user" || password != "s3cret") {
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		files.ServeHTTP(w, r)
	}))
	ts.Defer(server.Close)
	ts.Setenv("FILES", server.URL)
	for _, name := range args[1:] {
		text := strings.NewReplacer("@FILES@", server.URL, "@WORK@", ts.Getenv("WORK")).Replace(ts.ReadFile(name))
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}

// registries are those of the scripts, by their directories.
var registries sync.Map

func registryCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 && len(args) != 2 {
		ts.Fatalf("usage: registry [USER PASSWORD]")
	}
	r := registrytest.New()
	if len(args) == 2 {
		r.User, r.Password = args[0], args[1]
	}
	server := httptest.NewServer(r)
	ts.Defer(server.Close)
	ts.Setenv("REGISTRY", strings.TrimPrefix(server.URL, "http://"))
	registries.Store(ts.Getenv("WORK"), r)
}

func uploadsCmd(ts *testscript.TestScript, neg bool, args []string) {
	r, ok := registries.Load(ts.Getenv("WORK"))
	if neg || len(args) != 0 || !ok {
		ts.Fatalf("usage: uploads")
	}
	fmt.Fprintln(ts.Stdout(), r.(*registrytest.Registry).Counts().Uploads)
}

// asked is closed by the hanging proxy of a script when a request arrives; by
// the script's directory.
var asked = newRegistry()

func hangproxyCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: hangproxy")
	}
	arrived := asked.of(ts.Getenv("WORK"))
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		select {
		case arrived <- struct{}{}:
		default:
		}
		<-end
	}))
	ts.Defer(func() { close(end); server.Close() })
	ts.Setenv("MIRROR", server.URL)
}

func waitrequestCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: waitrequest")
	}
	select {
	case <-asked.of(ts.Getenv("WORK")):
	case <-time.After(time.Minute):
		ts.Fatalf("nobody asked the proxy")
	}
}

func waitfileCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfile FILE")
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s: not there", args[0])
		}
	}
}

func exitsCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code, err = e.ExitCode(), nil
	}
	ts.Check(err)
	ts.Logf("[exit code %d]", code)
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s\n%s%s", code, args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

func flipbitCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: flipbit FILE")
	}
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(files) != 1 {
		ts.Fatalf("%s: %d files", args[0], len(files))
	}
	data, err := os.ReadFile(files[0])
	ts.Check(err)
	data[len(data)/2] ^= 1
	ts.Check(os.Chmod(files[0], 0o644))
	ts.Check(os.WriteFile(files[0], data, 0o644))
}

func treeCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tree DIR")
	}
	root := ts.MkAbs(args[0])
	ts.Check(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		_, werr := fmt.Fprintf(ts.Stdout(), "%v %s %s\n", info.Mode(), info.ModTime().UTC().Format(time.DateOnly), filepath.ToSlash(rel))
		return errors.Join(err, werr)
	}))
}

func workdirCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: workdir FILE...")
	}
	for _, name := range args {
		text := strings.ReplaceAll(ts.ReadFile(name), "@WORK@", ts.Getenv("WORK"))
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}
