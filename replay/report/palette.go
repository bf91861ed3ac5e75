package report

import (
	"fmt"
	"html/template"
	"image/color"
	"strings"
)

// shade is one colour of the charts. Plots are drawn in the light colour; the
// page's style sheet recolours them for a dark screen by matching that very
// text, so every light colour stands for one role only. Colours follow Okabe and
// Ito, darkened to contrast; nothing is told by colour alone.
type shade struct {
	role, light, dark string
}

func palette() []shade {
	return []shade{
		{"axis", "#5A6572", "#9AA5B1"},
		{"grid", "#DFE3E8", "#343B44"},
		{"one", "#0B62A4", "#6FB7F2"},
		{"two", "#B8460E", "#FF9E64"},
		{"ideal", "#6A7683", "#8C98A4"},
		{"fault", "#8E2463", "#F08CC8"},
		{"mark", "#23292F", "#E6EAEE"},
		{"blind", "#C9CED4", "#4A525B"},
		{"look", "#FFF1C4", "#40381A"},
		{"ask", "#E4D9F5", "#3A2E52"},
		{"act", "#FFD6B8", "#553016"},
		{"verify", "#CCE5F6", "#17394E"},
		{"calm", "#DDF1E1", "#1B3A26"},
		{"lift", "#BFE3D0", "#1D4A3A"},
		{"alarm", "#F9CDCB", "#562024"},
	}
}

// ink returns the light colour of a role.
func ink(role string) color.Color {
	for _, s := range palette() {
		if s.role == role {
			var r, g, b uint8
			if _, err := fmt.Sscanf(s.light, "#%02X%02X%02X", &r, &g, &b); err == nil {
				return color.NRGBA{R: r, G: g, B: b, A: 255}
			}
		}
	}
	return color.Black
}

// colours is the part of the style sheet that the palette decides: variables
// for the page, and the recolouring of plots.
func colours() template.CSS {
	var light, dark, match strings.Builder
	for _, s := range palette() {
		fmt.Fprintf(&light, "--%s:%s;", s.role, s.light)
		fmt.Fprintf(&dark, "--%s:%s;", s.role, s.dark)
		fmt.Fprintf(&match, "svg [style*=\"stroke:%s\"]{stroke:var(--%s)!important}svg [style*=\"fill:%s\"]{fill:var(--%s)!important}\n",
			s.light, s.role, s.light, s.role)
	}
	return template.CSS(":root{" + light.String() + "}\n@media screen and (prefers-color-scheme:dark){:root{" + dark.String() + "}\n" + match.String() + "}\n")
}
