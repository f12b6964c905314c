package ocitar

import (
	"maps"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// frontendLabels are what BuildKit reads of a frontend image before it starts
// it: the features it may be asked for, and that it needs no network. They are
// those of upstream's release image, see
// frontend/dockerfile/cmd/dockerfile-frontend/Dockerfile of BuildKit v0.34.
var frontendLabels = map[string]string{
	"moby.buildkit.frontend.network.none": "true",
	"moby.buildkit.frontend.caps": "moby.buildkit.frontend.inputs," +
		"moby.buildkit.frontend.subrequests," +
		"moby.buildkit.frontend.contexts," +
		"moby.buildkit.frontend.gitquerystring," +
		"moby.buildkit.frontend.contexts.zstd",
}

// Frontend returns the image of a BuildKit frontend: the static binary in the
// file source on disk, at the path binary in an otherwise empty root, as the
// entrypoint, with the labels BuildKit looks for.
func Frontend(platform ocispec.Platform, binary, source string) Image {
	img := Image{
		Platform: platform,
		Layers:   []Layer{Files(File{Name: binary, Mode: 0o755, Source: source})},
	}
	img.Config.Entrypoint = []string{"/" + binary}
	// BuildKit gives every image that starts from scratch this PATH.
	img.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	img.Config.Labels = maps.Clone(frontendLabels)
	img.Config.WorkingDir = "/"
	return img
}
