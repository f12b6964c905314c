package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildctl/build"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	solvererrdefs "github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/moby/buildkit/util/staticfs"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
	"golang.org/x/sync/errgroup"
)

// directFlags are the flags of buildx that a build without buildx understands.
var directFlags = []string{
	"build-arg", "build-context", "file", "label", "metadata-file", "network", "no-cache", "no-cache-filter", "output",
	"platform", "progress", "pull", "push", "quiet", "sbom", "secret", "tag", "target",
}

// needsBuildx is the error of a build that is asked for more than that.
func needsBuildx(l *buildLine) error {
	var names []string
	for _, u := range l.uses {
		name := "--" + u.name
		if !buildFlags[u.name].own && !u.ours() && !slices.Contains(directFlags, u.name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	names = append(names, l.foreign...)
	if len(names) == 0 {
		return nil
	}
	return usage(strings.Join(names, ", ")+": not without buildx, of which there is none",
		"install the docker-buildx plugin; a BuildKit daemon alone (BUILDKIT_HOST) takes the other flags")
}

// solve builds on the BuildKit daemon at host: what buildx does, for the flags
// of directFlags. The result is what the build says of itself.
func (p *program) solve(ctx context.Context, host string, j job) (map[string]string, error) {
	opt, files, err := p.solveOpt(j)
	defer files.discard()
	if err != nil {
		return nil, err
	}
	c, err := client.New(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("BUILDKIT_HOST %s: %w", host, err)
	}
	defer c.Close()
	if _, err := c.Info(ctx); err != nil {
		return nil, fmt.Errorf("BUILDKIT_HOST %s: %w", host, err)
	}
	response, err := p.show(ctx, j.line, func(ctx context.Context, status chan *client.SolveStatus) (*client.SolveResponse, error) {
		// The frontend's error comes back by two ways, and each puts its own words
		// before it; which way is first differs from run to run.
		var own error
		response, err := c.Build(ctx, *opt, "hermetic", func(ctx context.Context, gw gateway.Client) (res *gateway.Result, err error) {
			res, own = gw.Solve(ctx, gateway.SolveRequest{Frontend: opt.Frontend, FrontendOpt: opt.FrontendAttrs})
			return res, own
		}, status)
		if own != nil && err != nil && strings.HasSuffix(err.Error(), ": "+own.Error()) {
			err = own
		}
		return response, err
	})
	if err != nil {
		for _, s := range solvererrdefs.Sources(err) {
			s.Print(p.stderr)
		}
		if strings.Contains(err.Error(), "\n") { // the frontend's findings
			return nil, &fault{code: exitTrouble, lines: err.Error(), text: "the build was stopped"}
		}
		return nil, err
	}
	if err := files.commit(); err != nil {
		return nil, err
	}
	if name := j.line.last("metadata-file"); name != "" {
		err = writeMetadata(name, response.ExporterResponse)
	}
	return response.ExporterResponse, err
}

// show runs a build with its progress on standard error.
func (p *program) show(ctx context.Context, l *buildLine, run func(context.Context, chan *client.SolveStatus) (*client.SolveResponse, error)) (*client.SolveResponse, error) {
	mode := progressui.DisplayMode(l.last("progress"))
	if l.on("quiet") || mode == "none" {
		mode = progressui.QuietMode
	}
	display, err := progressui.NewDisplay(p.stderr, mode)
	if err != nil {
		return nil, usage(fmt.Sprintf("--progress %s: %v", mode, err), "")
	}
	var g errgroup.Group
	status := make(chan *client.SolveStatus)
	var response *client.SolveResponse
	g.Go(func() (err error) {
		response, err = run(ctx, status)
		return err
	})
	g.Go(func() error {
		// The end of the build ends the display: it has an error to show.
		warnings, err := display.UpdateFrom(context.WithoutCancel(ctx), status)
		if mode != progressui.QuietMode && mode != progressui.RawJSONMode {
			for _, w := range warnings {
				p.say("warning: %s", w.Short)
			}
		}
		return err
	})
	return response, g.Wait()
}

// solveOpt is what the client library is asked for.
func (p *program) solveOpt(j job) (*client.SolveOpt, *outputFiles, error) {
	files := &outputFiles{stdout: p.stdout}
	opt := &client.SolveOpt{
		Frontend:      "gateway.v0",
		FrontendAttrs: map[string]string{"source": j.frontend.ref, "cmdline": j.frontend.ref},
		LocalMounts:   map[string]fsutil.FS{},
		OCIStores:     map[string]content.Store{},
	}
	if err := p.attributes(opt, j); err != nil {
		return nil, files, err
	}
	if err := p.contexts(opt, j); err != nil {
		return nil, files, err
	}
	var err error
	if opt.Exports, err = exports(j.line, files); err != nil {
		return nil, files, err
	}
	opt.Session, err = p.attachables(j.line)
	return opt, files, err
}

// attributes are the options that are plain words
// (BuildKit frontend/dockerui/config.go).
func (p *program) attributes(opt *client.SolveOpt, j job) error {
	l, attrs := j.line, opt.FrontendAttrs
	for name, value := range p.buildArgs(l.values("build-arg")) {
		attrs["build-arg:"+name] = value
	}
	if j.input != "" {
		attrs["build-arg:"+inputArg] = j.input
	}
	for _, label := range l.values("label") {
		name, value, _ := strings.Cut(label, "=")
		attrs["label:"+name] = value
	}
	if target := l.last("target"); target != "" {
		attrs["target"] = target
	}
	wanted, err := parsePlatforms(l.values("platform"))
	if err != nil {
		return err
	}
	if len(wanted) > 0 {
		attrs["platform"] = strings.Join(wanted, ",")
	}
	if mode := l.last("network"); mode != "" && mode != "default" {
		attrs["force-network-mode"] = mode
	}
	if stages := l.values("no-cache-filter"); len(stages) > 0 {
		attrs["no-cache"] = strings.Join(stages, ",")
	}
	if l.on("no-cache") {
		attrs["no-cache"] = ""
	}
	if l.on("pull") {
		attrs["image-resolve-mode"] = "pull"
	}
	if bill := l.last("sbom"); bill != "" {
		on, err := strconv.ParseBool(bill)
		if err != nil {
			attrs["attest:sbom"] = bill
		} else if on {
			attrs["attest:sbom"] = ""
		}
	}
	return nil
}

// contexts are the build context, the Dockerfile and the named contexts.
func (p *program) contexts(opt *client.SolveOpt, j job) error {
	if err := p.mainContext(opt, j.line); err != nil {
		return err
	}
	named := j.line.values("build-context")
	if j.deps != "" {
		named = append(named, depsContext+"="+j.deps)
	}
	if j.frontend.layout != "" {
		named = append(named, frontendContext+"=oci-layout://"+j.frontend.layout+"@"+j.frontend.digest.String())
	}
	for _, v := range named {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" || value == "" {
			return usage(fmt.Sprintf("--build-context %q: want NAME=VALUE", v), "")
		}
		if err := addContext(opt, strings.ToLower(name), value); err != nil {
			return fmt.Errorf("--build-context %s: %w", v, bare(err))
		}
	}
	return nil
}

// mainContext adds CONTEXT and the Dockerfile. One from standard input, and one
// of a remote context, are no files of this machine.
func (p *program) mainContext(opt *client.SolveOpt, l *buildLine) error {
	file, attrs := l.last("file"), opt.FrontendAttrs
	if isRemote(l.context) {
		if l.context == "-" || file == "-" {
			return usage("a context or Dockerfile from standard input: not without buildx, of which there is none", "")
		}
		attrs["context"] = l.context
		if file != "" {
			attrs["filename"] = file
		}
		return nil
	}
	if err := addDir(opt, "context", l.context); err != nil {
		return fmt.Errorf("%s: %w", l.context, bare(err))
	}
	switch file {
	case "":
		return addDir(opt, "dockerfile", l.context)
	case "-":
		data, err := io.ReadAll(p.stdin)
		if err != nil {
			return err
		}
		file := staticfs.NewFS()
		file.Add("Dockerfile", &fstypes.Stat{Mode: 0o644}, data)
		opt.LocalMounts["dockerfile"] = file
		return nil
	}
	attrs["filename"] = filepath.Base(file)
	return addDir(opt, "dockerfile", filepath.Dir(file))
}

func addDir(opt *client.SolveOpt, name, dir string) error {
	fs, err := fsutil.NewFS(dir)
	if err != nil {
		return err
	}
	opt.LocalMounts[name] = fs
	return nil
}

// addContext adds a named context: a directory or an OCI layout of this
// machine, else something that the daemon fetches.
func addContext(opt *client.SolveOpt, name, value string) error {
	key := "context:" + name
	if ref, ok := strings.CutPrefix(value, "oci-layout://"); ok {
		dir, dgst, ok := strings.Cut(ref, "@")
		if !ok || digest.Digest(dgst).Validate() != nil {
			return errors.New("an OCI layout needs its digest: oci-layout://DIR@sha256:…")
		}
		store, err := openLayout(dir)
		if err != nil {
			return err
		}
		id := fmt.Sprintf("layout%d", len(opt.OCIStores))
		opt.OCIStores[id] = store
		opt.FrontendAttrs[key] = "oci-layout:" + id + "@" + dgst
		return nil
	}
	if isRemote(value) {
		opt.FrontendAttrs[key] = strings.Replace(value, "docker-image://", "docker-image:", 1)
		return nil
	}
	mount := "context-" + name
	opt.FrontendAttrs[key] = "local:" + mount
	return addDir(opt, mount, value)
}

// openLayout opens an OCI layout.
func openLayout(dir string) (store content.Store, err error) {
	err = quietly(func() error {
		store, err = local.NewStore(dir)
		return err
	})
	return store, err
}

// attachables are what the daemon may ask this process for during the build.
func (p *program) attachables(l *buildLine) ([]session.Attachable, error) {
	out := []session.Attachable{authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
		AuthConfigProvider: authprovider.LoadAuthConfig(dockerconfig.LoadDefaultConfigFile(p.stderr)),
	})}
	if secrets := l.values("secret"); len(secrets) > 0 {
		provider, err := build.ParseSecret(secrets)
		if err != nil {
			return nil, usage("--secret: "+err.Error(), "")
		}
		out = append(out, provider)
	}
	return out, nil
}

// writeMetadata writes what the build says of itself, as buildx does: values
// that are JSON in base64 as JSON.
func writeMetadata(name string, response map[string]string) error {
	out := map[string]any{}
	for key, value := range response {
		out[key] = value
		if data, err := base64.StdEncoding.DecodeString(value); err == nil && json.Valid(data) && len(data) > 0 && data[0] == '{' {
			out[key] = json.RawMessage(data)
		}
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(name, text)
}

// writeFile writes a file whole or not at all.
func writeFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".hermetic-")
	if err != nil {
		return fmt.Errorf("%s: %w", name, bare(err))
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
