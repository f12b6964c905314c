package lab

import (
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/hermetic-build/hermetic/internal/ocitar"
)

// nodeImage leaves out npm's documentation.
func nodeImage(repo string) (ocitar.Image, error) {
	img, err := busyboxImage()
	if err != nil {
		return img, err
	}
	node, err := exec.LookPath("node")
	if err == nil {
		node, err = filepath.EvalSymlinks(node)
	}
	if err != nil {
		return img, fmt.Errorf("lab: %w", err)
	}
	modules, err := says(repo, "npm", "root", "--global")
	if err != nil {
		return img, err
	}
	files := []ocitar.File{
		{Name: "usr/local/bin/node", Mode: 0o755, Source: node},
		{Name: "usr/local/bin/npm", Mode: fs.ModeSymlink, Target: "../lib/node_modules/npm/bin/npm-cli.js"},
		{Name: "usr/local/bin/npx", Mode: fs.ModeSymlink, Target: "../lib/node_modules/npm/bin/npx-cli.js"},
		{Name: "lib", Mode: fs.ModeSymlink, Target: "usr/lib"},
		{Name: "lib64", Mode: fs.ModeSymlink, Target: "usr/lib64"},
	}
	for _, lib := range libraries(node) {
		source, err := filepath.EvalSymlinks(lib)
		if err != nil {
			return img, fmt.Errorf("lab: %w", err)
		}
		files = append(files, ocitar.File{Name: inImage(lib), Mode: 0o755, Source: source})
	}
	npm := ocitar.Tree(filepath.Join(modules, "npm"), ocitar.TreeOptions{At: "usr/local/lib/node_modules/npm", Skip: func(name string) bool {
		return name == "docs" || name == "man" || path.Base(name) == "test" || strings.HasSuffix(name, ".md")
	}})
	img.Layers = append(img.Layers, ocitar.Files(files...).Uncompressed(), npm.Uncompressed())
	return img, nil
}
