package fetch

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// DefaultGOPROXY and DefaultGOSUMDB stand in for variables that are set
// nowhere. They are empty unless the linker stamps them (-ldflags -X): the
// sources name no host.
var DefaultGOPROXY, DefaultGOSUMDB string

// goEnv is the go command's settings: the environment, then the file that
// "go env -w" writes.
type goEnv struct {
	env  func(string) string
	file map[string]string
}

func readGoEnv(env func(string) string) goEnv {
	e := goEnv{env: env}
	name := env("GOENV")
	if name == "" {
		name = goEnvFile(env)
	}
	if name == "off" || name == "" {
		return e
	}
	if data, err := os.ReadFile(name); err == nil {
		e.file = parseGoEnv(data)
	}
	return e
}

// goEnvFile is where the file is if GOENV does not say: in os.UserConfigDir,
// of env.
func goEnvFile(env func(string) string) string {
	home := env("HOME")
	switch dir := env("XDG_CONFIG_HOME"); {
	case runtime.GOOS == "darwin" && home != "":
		return filepath.Join(home, "Library", "Application Support", "go", "env")
	case runtime.GOOS != "darwin" && filepath.IsAbs(dir):
		return filepath.Join(dir, "go", "env")
	case home != "":
		return filepath.Join(home, ".config", "go", "env")
	}
	return ""
}

// parseGoEnv reads lines of NAME=value. Others are passed over, as the go
// command does; the last line of a name counts.
func parseGoEnv(data []byte) map[string]string {
	vars := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if ok && name != "" && name[0] >= 'A' && name[0] <= 'Z' {
			vars[name] = value
		}
	}
	return vars
}

// get is the value of a variable; an empty one is as good as none.
func (e goEnv) get(name string) string {
	if v := e.env(name); v != "" {
		return v
	}
	return e.file[name]
}

// private is the variable that keeps modules from proxies, and its patterns.
func (e goEnv) private() (variable, patterns string) {
	if v := e.get("GONOPROXY"); v != "" {
		return "GONOPROXY", v
	}
	return "GOPRIVATE", e.get("GOPRIVATE")
}

// usesNetrc tells whether GOAUTH wants .netrc. The note says what else it wants
// and does not get.
func (e goEnv) usesNetrc() (use bool, note string) {
	switch auth := e.get("GOAUTH"); auth {
	case "off":
		return false, ""
	case "", "netrc":
		return true, ""
	default:
		return strings.Contains(";"+strings.ReplaceAll(auth, " ", "")+";", ";netrc;"), "GOAUTH: only netrc and off are understood"
	}
}

// goproxy is the GOPROXY list in force.
func (e goEnv) goproxy(ctx context.Context) (proxyList, error) {
	text := e.get("GOPROXY")
	if text == "" {
		text = DefaultGOPROXY
	}
	if text == "" {
		text = e.ask(ctx, "GOPROXY")
	}
	if text == "" {
		return nil, &configError{"GOPROXY: not set, and there is no go command that knows one; set it to the URL of a module proxy"}
	}
	list, err := parseGOPROXY(text)
	if err != nil {
		return nil, &configError{"GOPROXY: " + err.Error()}
	}
	return list, nil
}

// ask is what the go command on PATH says of a variable: what it was built
// with, or its distributor's go.env; "" if there is none.
func (e goEnv) ask(ctx context.Context, name string) string {
	for _, dir := range filepath.SplitList(e.env("PATH")) {
		if !filepath.IsAbs(dir) {
			continue
		}
		program, err := exec.LookPath(filepath.Join(dir, "go"))
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, "env", name)
		cmd.Dir = filepath.VolumeName(dir) + string(filepath.Separator) // no go.mod that asks for another toolchain
		cmd.Env = []string{"GOTOOLCHAIN=local", "GO111MODULE=on", "GOWORK=off", "GOENV=off",
			"PATH=" + e.env("PATH"), "HOME=" + e.env("HOME"), "GOROOT=" + e.env("GOROOT")}
		out, err := cmd.Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	return ""
}
