package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// A setting is a key of Hermeto's configuration.
type setting struct {
	key  string // "section.name"
	kind string // "number", "switch", "text" or "variables"
}

// settings are all that Hermeto 0.61 has. Those of package types that are not
// fetched here, and those of its subprocesses, change nothing.
var settings = makeSettings()

func makeSettings() []setting {
	list := []setting{
		{"http.connect_timeout", "number"}, {"http.read_timeout", "number"}, {"http.max_retries", "number"},
		{"runtime.concurrency_limit", "number"}, {"runtime.subprocess_timeout", "number"},
		{"gomod.download_max_tries", "number"}, {"gomod.environment_variables", "variables"},
		{"pip.ignore_dependencies_crates", "switch"}, {"yarn.enabled", "switch"}, {"mode", "text"},
	}
	for _, kind := range []string{"bundler", "cargo", "gomod", "npm", "pip", "pnpm", "yarn"} {
		for _, name := range []string{"proxy_url", "proxy_login", "proxy_password"} {
			list = append(list, setting{kind + "." + name, "text"})
		}
	}
	slices.SortFunc(list, func(a, b setting) int { return strings.Compare(a.key, b.key) })
	return list
}

// formerSettings are names that keys had in older versions.
var formerSettings = map[string]string{
	"goproxy_url": "gomod.proxy_url", "gomod_download_max_tries": "gomod.download_max_tries",
	"requests_timeout": "http.read_timeout", "http.timeout": "http.read_timeout",
	"subprocess_timeout": "runtime.subprocess_timeout", "concurrency_limit": "runtime.concurrency_limit",
	"allow_yarnberry_processing": "yarn.enabled", "ignore_pip_dependencies_crates": "pip.ignore_dependencies_crates",
	"default_environment_variables.gomod": "gomod.environment_variables", "gomod_strict_vendor": "",
}

// A hermetoConfig is what is set, by key; the values are texts.
type hermetoConfig struct {
	values map[string]string
	origin map[string]string // who set it, for messages
	env    map[string]string // gomod.environment_variables
}

// configuration reads all that Hermeto reads: variables of the environment win
// over --config-file, and this over the files that are found. What is wrong, all
// of it, is the error.
func (h *hermetoProgram) configuration() (*hermetoConfig, error) {
	c := &hermetoConfig{values: map[string]string{}, origin: map[string]string{}, env: map[string]string{}}
	var errs []error
	files := []string{h.app + ".yaml", "." + h.app + ".yaml"}
	if home := h.env["HOME"]; home != "" {
		files = append([]string{filepath.Join(home, ".config", h.app, "config.yaml")}, files...)
	}
	for _, name := range append(files, h.configFile) {
		data, err := os.ReadFile(name)
		switch {
		case name == "", errors.Is(err, fs.ErrNotExist) && name != h.configFile:
			continue
		case err != nil:
			return nil, usage(fmt.Sprintf("--config-file %s: %v", name, bare(err)), "")
		}
		errs = append(errs, c.readFile(name, data)...)
	}
	errs = append(errs, c.readEnv(strings.ToUpper(h.app)+"_", h.program.env)...)
	errs = append(errs, c.check()...)
	if err := errors.Join(errs...); err != nil {
		return nil, refused(codeInput, err.Error())
	}
	return c, nil
}

// readFile reads a file of YAML.
func (c *hermetoConfig) readFile(name string, data []byte) []error {
	var doc map[string]any
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return []error{fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(doc)) {
		section, ok := doc[key].(map[string]any)
		if _, whole := settingOf(key); whole || !ok {
			errs = append(errs, c.set(name, key, doc[key]))
			continue
		}
		for _, sub := range slices.Sorted(maps.Keys(section)) {
			errs = append(errs, c.set(name, key+"."+sub, section[sub]))
		}
	}
	return errs
}

// readEnv reads variables whose names begin with prefix. Those of no section are
// somebody else's.
func (c *hermetoConfig) readEnv(prefix string, env map[string]string) []error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(env)) {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		key := strings.ToLower(strings.Replace(rest, "__", ".", 1))
		section, _, nested := strings.Cut(key, ".")
		if variable, ok := strings.CutPrefix(rest, "GOMOD__ENVIRONMENT_VARIABLES__"); ok {
			c.env[variable] = env[name]
			continue
		}
		_, known := settingOf(key)
		if !known && (!nested || !slices.ContainsFunc(settings, func(s setting) bool { return strings.HasPrefix(s.key, section+".") })) {
			continue
		}
		var value any = env[name]
		if s, _ := settingOf(key); s.kind == "variables" {
			var variables map[string]any
			if json.Unmarshal([]byte(env[name]), &variables) == nil {
				value = variables
			}
		}
		errs = append(errs, c.set(name, key, value))
	}
	return errs
}

// settingOf is the setting of a key, which may be a former one.
func settingOf(key string) (setting, bool) {
	if now, former := formerSettings[key]; former {
		if key = now; key == "" {
			return setting{}, true
		}
	}
	i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
	if i < 0 {
		return setting{}, false
	}
	return settings[i], true
}

// set takes over a value of a source.
func (c *hermetoConfig) set(source, key string, value any) error {
	s, known := settingOf(key)
	bad := func(want string) error { return fmt.Errorf("%s: %s: want %s", source, key, want) }
	text := fmt.Sprint(value)
	switch {
	case !known:
		return fmt.Errorf("%s: %.80q: not a key of the configuration", source, key)
	case s.key == "" || value == nil:
		return nil
	case s.kind == "variables":
		variables, ok := value.(map[string]any)
		if !ok {
			return bad("names with values")
		}
		for name, v := range variables {
			if old, ok := v.(map[string]any); ok {
				v = old["value"] // the form of older versions
			}
			c.env[name] = fmt.Sprint(v)
		}
		return nil
	case s.kind == "number":
		if n, err := strconv.ParseFloat(text, 64); err != nil || n < 0 || n > 1e6 {
			return bad("a number")
		}
	case s.kind == "switch":
		on, err := strconv.ParseBool(text)
		if err != nil {
			return bad("true or false")
		}
		text = strconv.FormatBool(on)
	}
	c.values[s.key], c.origin[s.key] = text, source
	return nil
}

// check finds proxies that cannot be asked. Messages do not repeat their URLs,
// which may hold a password.
func (c *hermetoConfig) check() []error {
	var errs []error
	for _, s := range settings {
		kind, ok := strings.CutSuffix(s.key, ".proxy_url")
		if !ok {
			continue
		}
		text, login, password := c.values[s.key], c.values[kind+".proxy_login"], c.values[kind+".proxy_password"]
		switch {
		case (login == "") != (password == ""):
			errs = append(errs, fmt.Errorf("%s: proxy_login and proxy_password go together", kind))
		case login != "" && text == "":
			errs = append(errs, fmt.Errorf("%s: proxy_login without proxy_url", kind))
		case text == "" || kind == "gomod" && login == "":
			continue
		}
		u, err := url.Parse(strings.TrimPrefix(text, "sparse+"))
		switch {
		case text == "":
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			errs = append(errs, fmt.Errorf("%s: %s: not a URL of http or https", c.origin[s.key], s.key))
		case u.User != nil:
			errs = append(errs, fmt.Errorf("%s: %s: credentials in it: they go into proxy_login and proxy_password", c.origin[s.key], s.key))
		case login != "" && u.Scheme == "http":
			errs = append(errs, fmt.Errorf("%s: %s: credentials would travel over plain http", c.origin[s.key], s.key))
		}
	}
	return errs
}

// number is the value of a setting; 0 where it is not set.
func (c *hermetoConfig) number(key string) float64 {
	n, _ := strconv.ParseFloat(c.values[key], 64) // set has looked at it
	return n
}

// on tells whether a switch is set and on.
func (c *hermetoConfig) on(key string) bool { return c.values[key] == "true" }

// apply has fetching do what is configured.
func (c *hermetoConfig) apply(o *fetchOptions) error {
	o.parallel = int(c.number("runtime.concurrency_limit"))
	o.stall = time.Duration(c.number("http.read_timeout") * float64(time.Second))
	if _, set := c.values["http.max_retries"]; set {
		o.tries = int(c.number("http.max_retries")) + 1
	}
	for _, kind := range c.proxied() {
		text := c.values[kind+".proxy_url"]
		if login := c.values[kind+".proxy_login"]; login != "" {
			scheme, rest, _ := strings.Cut(text, "://")
			text = scheme + "://" + url.UserPassword(login, c.values[kind+".proxy_password"]).String() + "@" + rest
		}
		if err := o.mirrors.Set(kind + "=" + text); err != nil {
			return refused(codeInput, fmt.Sprintf("%s: %s.proxy_url: %v", c.origin[kind+".proxy_url"], kind, err))
		}
	}
	return nil
}

// proxied are the package types, of those that are fetched here, with a proxy.
func (c *hermetoConfig) proxied() []string {
	var out []string
	for _, kind := range ecosystem.Types() {
		if c.values[kind+".proxy_url"] != "" {
			out = append(out, kind)
		}
	}
	return out
}

// environment is what the configuration adds to the environment of builds.
func (c *hermetoConfig) environment(pkgs []cache.Package) []cache.EnvVar {
	if !slices.ContainsFunc(pkgs, func(p cache.Package) bool { return p.Type == "gomod" }) {
		return nil
	}
	var out []cache.EnvVar
	for _, name := range slices.Sorted(maps.Keys(c.env)) {
		out = append(out, cache.EnvVar{Name: name, Value: c.env[name]})
	}
	return out
}

// markProxied has the components of inputs say which proxy they came through.
func (c *hermetoConfig) markProxied(inputs []cache.Input) {
	proxied := c.proxied()
	for i, in := range inputs {
		if in.Component == nil || in.Kind == "git" || !slices.Contains(proxied, in.Ecosystem) {
			continue
		}
		component := *in.Component
		component.Proxies = []string{c.values[in.Ecosystem+".proxy_url"]}
		inputs[i].Component = &component
	}
}

func (h *hermetoProgram) configCommand() *cobra.Command {
	var diff, raw bool
	cmd := &cobra.Command{
		Use:                   "config [flags]",
		Short:                 "Show the configuration in effect",
		Example:               "  $ " + h.app + " config\n  gomod.proxy_url: https://proxy.example.com",
		Args:                  noArguments,
		DisableFlagsInUseLine: true,
		RunE: func(*cobra.Command, []string) error {
			c, err := h.configuration()
			if err != nil {
				return err
			}
			for _, s := range settings {
				text, set := c.values[s.key]
				switch {
				case !set && diff:
					continue
				case set && strings.HasSuffix(s.key, "_password") && !raw:
					text = "***"
				}
				fmt.Fprintf(h.stdout, "%s: %s\n", s.key, text)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&diff, "diff", false, "show only what is set")
	cmd.Flags().BoolVar(&raw, "raw", false, "show passwords")
	return cmd
}
