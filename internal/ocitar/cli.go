package ocitar

import (
	"io/fs"
	"path"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// CLI returns the image of a command line program: the static binary in the file
// source on disk, at the path binary in an otherwise empty root, as the
// entrypoint. names are more names that it goes by, links beside it; the first
// of them is the entrypoint then, as programs go by the name they are called.
func CLI(platform ocispec.Platform, binary, source string, names ...string) Image {
	files := []File{
		{Name: binary, Mode: 0o755, Source: source},
		{Name: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{Name: "root", Mode: fs.ModeDir | 0o700},
	}
	dir := path.Dir(binary)
	for _, name := range names {
		files = append(files, File{Name: path.Join(dir, name), Mode: fs.ModeSymlink | 0o777, Target: path.Base(binary)})
	}
	img := Image{Platform: platform, Layers: []Layer{Files(files...)}}
	img.Config.Entrypoint = []string{"/" + binary}
	if len(names) > 0 {
		img.Config.Entrypoint = []string{"/" + path.Join(dir, names[0])}
	}
	img.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	img.Config.WorkingDir = "/"
	return img
}
