package oncall

import (
	"fmt"

	"github.com/sreagent/sreagent/sre"
)

// sureness writes how a confidence came about, in the order of the arithmetic,
// who else could be the cause by what such figures were worth, and why a person
// must decide where one must.
func (p *page) sureness(c sre.Confidence) {
	if len(c.Factors) == 0 && len(c.Suspects) == 0 && c.Abstain == "" {
		return
	}
	p.heading("how sure, and why")
	for _, f := range c.Factors {
		text := fmt.Sprintf("%s %s, so %s", words(f.Name), share(f.Value), share(f.After))
		if f.Text != "" {
			text += ": " + f.Text
		}
		p.item(text)
	}
	if n, unknown := c.Possible(); n > 0 {
		text := counted(n, "possible cause")
		if unknown {
			text += ", one of them a service that is not seen"
		}
		p.item(text)
	}
	if c.Abstain != "" {
		p.item("a person must decide: " + c.Abstain)
	}
}
