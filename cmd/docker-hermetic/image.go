package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/sirupsen/logrus"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/artifact"
)

// writeImage makes an image of the deps context, takes it where the output says,
// and prints its name as "--build-context hermetic=NAME" takes it.
func (p *program) writeImage(ctx context.Context, store *cache.Store, out output) error {
	image, err := artifact.New(ctx, store, out.manifest, artifact.Options{Version: ownVersion(), Verify: out.verify})
	if err != nil {
		return unmade(err)
	}
	if out.oci != "" {
		dir, err := realPath(out.oci)
		if err != nil {
			return fmt.Errorf("--output %s: %w", out.oci, bare(err))
		}
		err = quietly(func() error { return image.WriteLayout(ctx, dir) })
		if err != nil {
			return unmade(err)
		}
		fmt.Fprintf(p.stdout, "oci-layout://%s@%s\n", dir, image.Digest())
	}
	if out.push == (artifact.Reference{}) {
		return nil
	}
	var sent artifact.Sent
	err = quietly(func() (err error) {
		sent, err = image.Push(ctx, out.push, artifact.PushOptions{Credentials: p.credentials(ctx)})
		return err
	})
	if denied, ok := errors.AsType[*artifact.DeniedError](err); ok {
		return trouble(fmt.Sprintf("--push %s: %v", out.push, denied), fmt.Sprintf("run %q", "docker login "+out.push.Host()))
	}
	if _, ok := errors.AsType[*artifact.DamagedError](err); err != nil && !ok && ctx.Err() == nil {
		return fmt.Errorf("--push %s: %w", out.push, err)
	}
	if err != nil {
		return unmade(err)
	}
	if !out.quiet {
		p.say("%s: sent %d of %s, %.1f MB", out.push, sent.Blobs, count(sent.Blobs+sent.Held, "blob", "blobs"), float64(sent.Bytes)/1e6)
	}
	fmt.Fprintf(p.stdout, "docker-image://%s@%s\n", out.push, image.Digest())
	return nil
}

// unmade is the error of an image that could not be made of a damaged store;
// other errors are what they are.
func unmade(err error) error {
	damaged, ok := errors.AsType[*artifact.DamagedError](err)
	if !ok {
		return err
	}
	return &fault{code: exitRefused, lines: damaged.Error(), text: count(len(damaged.Inputs), "problem", "problems") + "; no image was made",
		hints: []string{"run again with --verify: it fetches what is damaged again"}}
}

// credentials are those of docker's own configuration, with its helpers.
func (p *program) credentials(ctx context.Context) func(string) (string, string, error) {
	load := authprovider.LoadAuthConfig(dockerconfig.LoadDefaultConfigFile(p.stderr))
	return func(host string) (string, string, error) {
		c, err := load(ctx, host, nil, nil)
		if err != nil {
			return "", "", fmt.Errorf("credentials for %s: %s", host, strings.TrimSpace(err.Error()))
		}
		if c.IdentityToken != "" {
			return "", c.IdentityToken, nil
		}
		return c.Username, c.Password, nil
	}
}

// quietly runs f without what containerd says in passing about file systems and
// registries: nothing that a user can act on.
func quietly(f func() error) error {
	level := logrus.GetLevel()
	logrus.SetLevel(logrus.ErrorLevel)
	defer logrus.SetLevel(level)
	return f()
}
