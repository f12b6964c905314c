package frontend

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"

	"github.com/hermetic-build/hermetic/frontend/policy"
	"github.com/hermetic-build/hermetic/frontend/preflight"
)

// Names of the options that a build gives its frontend. Those of the client
// are defined in BuildKit's frontend/dockerui, unexported there.
const (
	buildArg      = "build-arg:"
	keyInput      = buildArg + "HERMETIC_INPUT"
	ownArgs       = buildArg + "HERMETIC_"
	keyCmdline    = "cmdline"
	keyFilename   = "filename"
	keyTarget     = "target"
	keyPlatform   = "platform"
	keyRequestID  = "requestid"
	keyNetwork    = "force-network-mode"
	keyContext    = "context"
	keyNamed      = "context:"
	keyDeps       = keyNamed + DepsContext
	keySessionID  = "local-sessionid:"
	keyProvenance = "attest:provenance"
	keySBOM       = "attest:sbom"
	keyContextKey = "contextkey"
	keyFileKey    = "dockerfilekey"
)

// DepsContext is the name of the build context that carries the cache.
const DepsContext = "hermetic"

// Where RUN steps see the cache: the paths of Konflux's builds, so that a
// Dockerfile that names them works in both.
const (
	depsMount  = "/cachi2" // the directory of OutputDir
	outputName = "output"  // its name
	envName    = "cachi2.env"
)

// OutputDir is the mounted output directory, to which the environment points.
const OutputDir = preflight.OutputDir

// config is what the options of a build mean to us, parsed once.
type config struct {
	filename  string
	context   string // where the build context is; "" for a directory of the client
	file      string // name of the client's directory that has the Dockerfile
	target    string
	input     string // the prefetch input, "" for none
	request   string // the subrequest, "" for a build
	network   string // what the client asked for all RUNs, "" for nothing
	deps      string // where the deps context is, "scheme:rest"; "" for none
	platforms []string
	args      map[string]string
	contexts  []string // names of named contexts, in lower case
	remotes   []string // where those named contexts are that are no directories
	policy    *policy.Policy
	fullSteps bool // the client wants all steps of the build in its provenance
	bill      bool // the client wants a bill of materials in the result
	billAlone bool // and no scanner's
}

// parseConfig reads the options; those it does not know are upstream's.
func parseConfig(opts client.BuildOpts) (config, error) {
	o := opts.Opts
	c := config{
		filename: o[keyFilename], target: o[keyTarget], input: o[keyInput], request: o[keyRequestID],
		network: o[keyNetwork], deps: o[keyDeps], args: map[string]string{},
	}
	c.filename = path.Clean(cmp.Or(c.filename, "Dockerfile"))
	c.context = o[cmp.Or(o[keyContextKey], keyContext)]
	c.file = cmp.Or(o[keyFileKey], dockerui.DefaultLocalNameDockerfile)
	for k, v := range o {
		if name, ok := strings.CutPrefix(k, buildArg); ok {
			c.args[name] = v
		}
		if name, ok := strings.CutPrefix(k, keyNamed); ok && k != keyDeps {
			name, _, _ = strings.Cut(name, "::") // a platform
			c.contexts = append(c.contexts, strings.ToLower(name))
			c.remotes = append(c.remotes, v)
		}
		if name, ok := strings.CutPrefix(k, ownArgs); ok && k != keyInput {
			return config{}, fmt.Errorf("build-arg HERMETIC_%s: not known; the only one is HERMETIC_INPUT", name)
		}
	}
	c.fullSteps = wantsSteps(o)
	var err error
	if c.bill, c.billAlone, err = wantsBill(o); err != nil {
		return config{}, err
	}
	for _, w := range opts.Workers {
		for _, p := range w.Platforms {
			c.platforms = append(c.platforms, p.OS+"/"+p.Architecture)
			break // the first is the worker's own, the others are emulated
		}
	}
	if o[keyPlatform] != "" {
		for p := range strings.SplitSeq(o[keyPlatform], ",") {
			c.platforms = append(c.platforms, strings.TrimSpace(p))
		}
	}
	return c, nil
}

// wantsSteps tells whether the provenance that the client asks for lists the
// steps of the build: mode=max, which is also the default of the daemon.
func wantsSteps(opts map[string]string) bool {
	attrs, ok := opts[keyProvenance]
	return ok && !strings.Contains(attrs, "mode=min") && !strings.Contains(attrs, "disabled=true")
}

// forUpstream is a copy of the options as upstream's builder gets them. The
// one named cmdline keeps it from handing the build to the frontend that a
// "# syntax" line names (frontend/dockerfile/builder/build.go): that one's
// graph would never come by here. The deps context is hidden, so that no COPY
// reads unverified bytes from it.
func forUpstream(opts map[string]string) map[string]string {
	o := maps.Clone(opts)
	if o == nil {
		o = map[string]string{}
	}
	if o[keyCmdline] == "" {
		o[keyCmdline] = "hermetic"
	}
	for k := range o {
		if strings.HasPrefix(k, ownArgs) || k == keyDeps || strings.HasPrefix(k, keyDeps+"::") {
			delete(o, k)
		}
	}
	if _, alone, err := wantsBill(o); err == nil && alone {
		for k := range o {
			if lower := strings.ToLower(k); lower == keySBOM || lower == buildArg+"buildkit_attest_sbom" {
				delete(o, k)
			}
		}
	}
	return o
}
