// Command run starts the lab, makes images, and runs a command in it:
//
//	go run ./internal/lab/run [-images busybox,golang] [command [argument...]]
//
// The command finds the lab's builder selected for `docker buildx` and `buildx`,
// BUILDKIT_HOST set for buildctl, the repository's bin and the lab's programs in
// PATH, the registry's host:port in HERMETIC_LAB_REGISTRY and the reference of
// each image in HERMETIC_LAB_BUSYBOX and so on. Without a command it prints the
// references and ends. The exit status is the command's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hermetic-build/hermetic/internal/lab"
)

func main() {
	images := flag.String("images", "busybox,golang", "images to make, separated by commas")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, strings.Split(*images, ","), flag.Args())
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, images, command []string) (err error) {
	l, err := lab.Start(ctx, lab.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	env := l.Env()
	for _, name := range images {
		ref, err := l.Image(ctx, name)
		if err != nil {
			return err
		}
		env = append(env, "HERMETIC_LAB_"+strings.ToUpper(name)+"="+ref)
		if len(command) == 0 {
			fmt.Println(ref)
		}
	}
	if len(command) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(env, "PATH="+strings.Join([]string{filepath.Join(l.Repo(), "bin"), os.Getenv("PATH"), filepath.Dir(l.Bin("buildx"))}, ":"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
