package runbooks

import (
	"embed"
	"io/fs"
)

//go:embed shipped/*.yaml
var shippedFiles embed.FS

// Shipped returns the runbooks that come with the agent, at the root of the
// file system: Load(Shipped(), ".").
func Shipped() fs.FS {
	sub, err := fs.Sub(shippedFiles, "shipped")
	if err != nil {
		panic("runbooks: shipped folder: " + err.Error()) // the path is a constant
	}
	return sub
}
