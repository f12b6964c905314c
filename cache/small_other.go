//go:build !unix

package cache

import "os"

// readSmall reads a file that most likely has a few lines.
func readSmall(name string) ([]byte, error) { return os.ReadFile(name) }
