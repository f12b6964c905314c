package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestList(t *testing.T) {
	var out strings.Builder
	cmd := command()
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"list", "left hinge"})
	require.NoError(t, cmd.Execute())
	require.Contains(t, out.String(), "name: Left Hinge")
}
