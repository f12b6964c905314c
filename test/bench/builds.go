package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// build runs one build of a directory and tells how long the client took.
func (b *bench) build(ctx context.Context, dir string, args ...string) (time.Duration, string, error) {
	cmd := b.lab.Buildx(ctx, append(append([]string{"build", "--progress=plain"}, args...), dir)...)
	var out []byte
	took, err := timed(func() (err error) {
		out, err = cmd.CombinedOutput()
		return err
	})
	return took, string(out), err
}

// with are the arguments that choose a frontend.
func (b *bench) with(frontend string, args ...string) []string {
	return append([]string{"--build-arg", "BUILDKIT_SYNTAX=" + b.images[frontend]}, args...)
}

// sideBySide builds dir with our frontend and with the stock one in turns,
// after one build of each that is not counted.
func (b *bench) sideBySide(ctx context.Context, dir string, ours, stock []string) (a, c sample, err error) {
	for i := range b.rounds + 1 {
		t1, out, err := b.build(ctx, dir, ours...)
		if err != nil {
			return nil, nil, fmt.Errorf("%w\n%s", err, out)
		}
		t2, out, err := b.build(ctx, dir, stock...)
		if err != nil {
			return nil, nil, fmt.Errorf("%w\n%s", err, out)
		}
		if i > 0 {
			a, c = append(a, t1), append(c, t2)
		}
	}
	return a, c, nil
}

// noop compares builds in which nothing changed.
func (b *bench) noop(ctx context.Context) error {
	example := filepath.Join(b.lab.Repo(), "examples", "go")
	golang, err := b.goImage(ctx)
	if err != nil {
		return err
	}
	if err := b.download(ctx, example); err != nil {
		return err
	}
	f, err := b.hermetic(ctx, example, filepath.Join(b.dir, "store"), b.images["proxy"])
	if err != nil {
		return err
	}
	arg := []string{"--build-arg", "GO_IMAGE=" + golang}
	a, c, err := b.sideBySide(ctx, example, b.with("frontend", append(arg, "--build-context", "hermetic="+f.dir)...), b.with("dockerfile", arg...))
	if err != nil {
		return err
	}
	ratio("no-op build of examples/go / stock frontend", a, c, 1.15)
	return nil
}

// many compares builds of many modules in which nothing changed.
func (b *bench) many(ctx context.Context) error {
	const n = 500
	project, cache, err := b.realModule(ctx, n)
	if err != nil {
		return err
	}
	proxy, err := serve(ctx, http.FileServer(http.Dir(cache)))
	if err != nil {
		return err
	}
	if err := writeFiles(project, map[string]string{"Dockerfile": "FROM " + b.images["busybox"] + "\nCOPY go.mod go.sum /src/\nRUN cat /src/go.mod >/out\nRUN sort /out >/sorted\n"}); err != nil {
		return err
	}
	f, err := b.hermetic(ctx, project, filepath.Join(b.dir, "store"), proxy)
	if err != nil {
		return err
	}
	a, c, err := b.sideBySide(ctx, project, b.with("frontend", "--build-context", "hermetic="+f.dir), b.with("dockerfile"))
	if err != nil {
		return err
	}
	ratio(fmt.Sprintf("no-op build with %d modules in the deps context / stock", n), a, c, 1.3)
	return nil
}

// goImage is a Go image whose go command knows the loopback proxy, so that the
// stock frontend, whose RUNs have the lab's network, can build the example.
func (b *bench) goImage(ctx context.Context) (string, error) {
	out, err := b.goTool(ctx, b.dir, nil, "env", "GOMODCACHE")
	if err != nil {
		return "", err
	}
	cache := filepath.Join(strings.TrimSpace(string(out)), "cache", "download")
	if b.images["proxy"], err = serve(ctx, http.FileServer(http.Dir(cache))); err != nil {
		return "", err
	}
	img, err := b.lab.Base("golang")
	if err != nil {
		return "", err
	}
	img.Config.Env = append(img.Config.Env, "GOPROXY="+b.images["proxy"], "GOSUMDB=off")
	return b.lab.PushImage(ctx, "golang-bench", img)
}

// missing tells how long a user waits for the news that inputs are missing.
func (b *bench) missing(ctx context.Context) error {
	example := filepath.Join(b.lab.Repo(), "examples", "go")
	empty := filepath.Join(b.dir, "empty")
	if err := os.MkdirAll(empty, 0o755); err != nil {
		return err
	}
	golang, err := b.lab.Image(ctx, "golang")
	if err != nil {
		return err
	}
	f, err := b.hermetic(ctx, empty, filepath.Join(b.dir, "store"), "off")
	if err != nil {
		return err
	}
	var s sample
	for range b.rounds {
		took, out, err := b.build(ctx, example, b.with("frontend", "--build-arg", "GO_IMAGE="+golang,
			"--build-arg", "HERMETIC_INPUT=gomod", "--build-context", "hermetic="+f.dir)...)
		if err == nil || !strings.Contains(out, "MissingInput") {
			return fmt.Errorf("the build did not miss its inputs\n%s", out)
		}
		s = append(s, took)
	}
	limit("from the start of a build to MissingInput", s.median().Seconds(), "s", 1)
	return nil
}

// scale prints how costs grow with the number of inputs.
func (b *bench) scale(ctx context.Context) error {
	fmt.Printf("\n%8s %12s %12s %12s %12s %12s\n", "inputs", "prefetch", "again", "check", "first build", "no-op build")
	for _, inputs := range []int{100, 1000, 5000} {
		project, proxy, err := b.madeModules(ctx, inputs/2)
		if err != nil {
			return err
		}
		if err := writeFiles(project, map[string]string{"Dockerfile": "FROM " + b.images["busybox"] + "\nRUN true\n"}); err != nil {
			return err
		}
		store := filepath.Join(b.dir, fmt.Sprint("scale-", inputs))
		cold, err := b.hermetic(ctx, project, store, proxy)
		if err != nil {
			return err
		}
		again, err := b.hermetic(ctx, project, store, proxy)
		if err != nil {
			return err
		}
		check, err := b.check(ctx, project, cold.dir)
		if err != nil {
			return err
		}
		args := b.with("frontend", "--build-context", "hermetic="+cold.dir)
		first, out, err := b.build(ctx, project, args...)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		var noop sample
		for range 5 {
			took, out, err := b.build(ctx, project, args...)
			if err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			noop = append(noop, took)
		}
		fmt.Printf("%8d %11.3fs %11.3fs %11.3fs %11.3fs %11.3fs\n", inputs, cold.took.Seconds(), again.took.Seconds(), check.Seconds(), first.Seconds(), noop.median().Seconds())
	}
	return nil
}

// check runs hermetic check on a project.
func (b *bench) check(ctx context.Context, project, deps string) (time.Duration, error) {
	return timed(func() error {
		out, err := commandOutput(ctx, filepath.Join(b.lab.Repo(), "bin", "hermetic"), "check", "--deps", deps, project)
		if err != nil {
			return fmt.Errorf("check: %w\n%s", err, out)
		}
		return nil
	})
}
