package main

import (
	"context"
	"errors"
	"slices"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli-plugins/metadata"
	"github.com/docker/cli/cli-plugins/plugin"
	"github.com/docker/cli/cli-plugins/socket"
	"github.com/docker/cli/cli/command"
	"github.com/spf13/cobra"
)

// pluginMetadata is what docker asks a plugin for, to list it in its help.
func pluginMetadata() metadata.Metadata {
	return metadata.Metadata{
		SchemaVersion: "0.1.0",
		Vendor:        "hermetic-build",
		Version:       ownVersion(),
		URL:           "https://github.com/hermetic-build/hermetic",
	}
}

// runPlugin runs root as "docker hermetic". The handshake, docker's global
// flags and its way of cancelling a plugin are those of docker's own library.
func (p *program) runPlugin(ctx context.Context, root *cobra.Command, args []string) error {
	docker, err := command.NewDockerCli(command.WithBaseContext(ctx),
		command.WithOutputStream(p.stdout), command.WithErrorStream(p.stderr))
	if err != nil {
		return err
	}
	p.docker = dockerCommand(p.env[metadata.ReexecEnvvar], args)
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		cmd.SetContext(ctx)
		return plugin.PersistentPreRunE(cmd, args)
	}
	err = plugin.RunPlugin(docker, root, pluginMetadata())
	if s, ok := errors.AsType[cli.StatusError](err); ok {
		return &fault{code: max(s.StatusCode, 1), lines: s.Status}
	}
	return err
}

// dockerCommand is how to run docker as it was run to get here: docker hands
// its plugins the arguments that it was given, its global flags first.
func dockerCommand(name string, args []string) []string {
	if name == "" {
		name = "docker"
	}
	if i := slices.Index(args, "hermetic"); i > 1 {
		return append([]string{name}, args[1:i]...)
	}
	return []string{name}
}

// pluginVariables are those by which docker and a plugin know each other: a
// program that we start is no plugin of that docker.
var pluginVariables = []string{metadata.ReexecEnvvar, socket.EnvKey}
