package remediators

import promconfig "github.com/prometheus/common/config"

// SetDirectory makes relative file names relative to dir, the folder of the
// configuration file. Map files are left as they are: HAProxy names them.
func (c *Config) SetDirectory(dir string) {
	c.StateDir = promconfig.JoinDir(dir, c.StateDir)
	c.Guard.TokenFile = promconfig.JoinDir(dir, c.Guard.TokenFile)
	c.Guard.HTTP.SetDirectory(dir)
}
