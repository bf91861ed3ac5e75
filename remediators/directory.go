package remediators

import promconfig "github.com/prometheus/common/config"

// SetDirectory makes relative file names relative to dir, the folder of the
// configuration file. Map files are left as they are: HAProxy names them.
func (c *Config) SetDirectory(dir string) {
	c.StateDir = promconfig.JoinDir(dir, c.StateDir)
	c.Guard.TokenFile = promconfig.JoinDir(dir, c.Guard.TokenFile)
	c.Guard.HTTP.SetDirectory(dir)
	for i := range c.Webhook {
		c.Webhook[i].SecretFile = promconfig.JoinDir(dir, c.Webhook[i].SecretFile)
		c.Webhook[i].HTTP.SetDirectory(dir)
	}
	for i := range c.Flags {
		c.Flags[i].File = promconfig.JoinDir(dir, c.Flags[i].File)
		c.Flags[i].TokenFile = promconfig.JoinDir(dir, c.Flags[i].TokenFile)
		c.Flags[i].HTTP.SetDirectory(dir)
	}
}
