//go:build e2e

package report

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// probe frames a page at a width and measures it from outside, so that the page
// is shown with its own policy in force. What it finds stands in the title.
const probe = `<!DOCTYPE html><html><body style="margin:0"><iframe id="f" style="border:0;width:%dpx;height:%dpx" srcdoc="%s"></iframe><script>
addEventListener("load",function(){
 var w=document.getElementById("f").contentWindow,d=w.document,out={overflow:[],overlaps:[],outside:[],texts:0,charts:0};
 out.width=d.documentElement.scrollWidth; out.view=d.documentElement.clientWidth;
 d.querySelectorAll("body *").forEach(function(e){
  if(e.closest("svg")&&e.tagName!=="svg")return; var s=e.closest(".scroll"); if(s&&s!==e)return;
  var r=e.getBoundingClientRect(); if(r.width&&r.right>out.view+1)out.overflow.push(e.tagName+"."+e.getAttribute("class")+" to "+Math.round(r.right));
 });
 d.querySelectorAll("figure svg,svg.graph").forEach(function(s){
  var b=s.getBoundingClientRect(); if(!b.width)return; out.charts++;
  var t=[].slice.call(s.querySelectorAll("text")).map(function(e){return{r:e.getBoundingClientRect(),t:e.textContent}}).filter(function(x){return x.r.width});
  out.texts+=t.length;
  t.forEach(function(x,i){
   if(x.r.left<b.left-1||x.r.right>b.right+1||x.r.top<b.top-2||x.r.bottom>b.bottom+2)out.outside.push(x.t);
   t.slice(0,i).forEach(function(y){ if(x.r.left<y.r.right-1&&y.r.left<x.r.right-1&&x.r.top<y.r.bottom-3&&y.r.top<x.r.bottom-3)out.overlaps.push(x.t+" | "+y.t); });
  });
 });
 var line=d.querySelector('[style*="stroke:#0B62A4"]'); out.stroke=line?w.getComputedStyle(line).stroke:"";
 out.paper=w.getComputedStyle(d.body).backgroundColor;
 w.dispatchEvent(new Event("beforeprint"));
 out.folded=d.querySelectorAll("details:not([open])").length;
 document.title=JSON.stringify(out);
});
</script></body></html>`

type measured struct {
	Width    int      `json:"width"`
	View     int      `json:"view"`
	Charts   int      `json:"charts"`
	Texts    int      `json:"texts"`
	Folded   int      `json:"folded"`
	Overflow []string `json:"overflow"`
	Overlaps []string `json:"overlaps"`
	Outside  []string `json:"outside"`
	Stroke   string   `json:"stroke"`
	Paper    string   `json:"paper"`
}

type browser struct {
	path, dir string
}

func newBrowser(t *testing.T) browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	dir, err := os.MkdirTemp("", "report")
	if err != nil {
		t.Fatal(err)
	}
	// A helper of the browser may outlive it for a moment and write to its
	// profile: t.TempDir would take what it leaves there for a failure.
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return browser{path, dir}
}

// run starts Chromium on a page and returns what it wrote. Whatever the page
// complained of, a breach of its policy too, fails the test.
func (b browser) run(t *testing.T, flags ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	base := []string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking",
		"--enable-logging=stderr", "--user-data-dir=" + filepath.Join(b.dir, "profile"),
	}
	var out, log bytes.Buffer
	cmd := exec.CommandContext(ctx, b.path, append(base, flags...)...)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("chromium: %v\n%s", err, log.Bytes())
	}
	for l := range strings.Lines(log.String()) {
		if strings.Contains(l, ":CONSOLE") {
			t.Errorf("the page complains: %s", l)
		}
	}
	return out.Bytes()
}

func (b browser) measure(t *testing.T, page []byte, width int, flags ...string) measured {
	t.Helper()
	file := filepath.Join(b.dir, "probe.html")
	if err := os.WriteFile(file, fmt.Appendf(nil, probe, width, 900, html.EscapeString(string(page))), 0o600); err != nil {
		t.Fatal(err)
	}
	dom := string(b.run(t, append(flags, "--dump-dom", "--window-size=1400,1000", "file://"+file)...))
	_, rest, _ := strings.Cut(dom, "<title>")
	title, _, found := strings.Cut(rest, "</title>")
	var m measured
	if err := json.Unmarshal([]byte(html.UnescapeString(title)), &m); !found || err != nil {
		t.Fatalf("no measurements: %v in %.300s", err, dom)
	}
	return m
}

// shoot saves a picture in the test's folder, or in SREAGENT_SHOTS to look at.
func (b browser) shoot(t *testing.T, name string, page []byte, width, height int) {
	t.Helper()
	dir := os.Getenv("SREAGENT_SHOTS")
	if dir == "" {
		dir = b.dir
	}
	source, picture := filepath.Join(b.dir, name+".html"), filepath.Join(dir, fmt.Sprintf("%s-%d.png", name, width))
	framed := fmt.Appendf(nil, `<!DOCTYPE html><body style="margin:0"><iframe style="border:0;width:%dpx;height:%dpx" srcdoc="%s"></iframe>`, width, height, html.EscapeString(string(page)))
	if err := os.WriteFile(source, framed, 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(t, "--screenshot="+picture, fmt.Sprintf("--window-size=%d,%d", max(width, 500), height), "file://"+source)
	if shot, err := os.ReadFile(picture); err != nil || len(shot) < 10_000 {
		t.Errorf("screenshot %s: %d bytes, %v", name, len(shot), err)
	}
}

func e2ePages(t *testing.T) map[string][]byte {
	out := map[string][]byte{}
	for _, name := range []string{"replay-full", "replay-busy", "replay-empty", "scenario", "backtest-full"} {
		out[name] = fill(t, allPages()[name])
	}
	return out
}

func TestE2EReportsInChromium(t *testing.T) {
	b := newBrowser(t)
	for name, page := range e2ePages(t) {
		for _, width := range []int{360, 1280} {
			t.Run(fmt.Sprint(name, "-", width), func(t *testing.T) {
				m := b.measure(t, page, width)
				if m.View != width || m.Width > m.View || len(m.Overflow) > 0 {
					t.Errorf("page is %d wide on %d: %v", m.Width, m.View, m.Overflow)
				}
				if len(m.Overlaps)+len(m.Outside) > 0 {
					t.Errorf("text overlaps: %q; text leaves its picture: %q", m.Overlaps, m.Outside)
				}
				if m.Charts == 0 && name != "backtest-nil" || m.Charts > 0 && m.Texts == 0 {
					t.Errorf("%d charts with %d texts are seen", m.Charts, m.Texts)
				}
				if m.Folded > 0 {
					t.Errorf("%d details stay folded in print", m.Folded)
				}
				if m.Paper != "rgb(255, 255, 255)" || m.Stroke != "" && m.Stroke != "rgb(11, 98, 164)" {
					t.Errorf("in light: paper %s, line %s", m.Paper, m.Stroke)
				}
				b.shoot(t, name, page, width, 2400)
			})
		}
	}
}

func TestE2EDark(t *testing.T) {
	b := newBrowser(t)
	m := b.measure(t, fill(t, allPages()["replay-full"]), 1280, "--blink-settings=preferredColorScheme=0")
	if m.Paper != "rgb(18, 22, 27)" || m.Stroke != "rgb(111, 183, 242)" {
		t.Errorf("in the dark: paper %s, line %s; want both recoloured", m.Paper, m.Stroke)
	}
}

func TestE2EHostileNamesInChromium(t *testing.T) {
	b := newBrowser(t)
	r := sampleReplay()
	const text = `<script>alert(1)</script>"]]><img src=x onerror=alert(1)>`
	for _, long := range []string{text, strings.Repeat("W", 5000)} {
		r.Incident.Title, r.Incident.ID, r.Stopped = long, long, long
		r.Graph = taintedGraph(long)
		for i := range r.Series {
			r.Series[i].Service, r.Series[i].Name = long, long
		}
		r.Timeline.Records = slices.Clone(r.Timeline.Records)
		for i := range r.Timeline.Records {
			if inc := r.Timeline.Records[i].Incident; inc != nil {
				inc.Diagnosis.Hypotheses[0].Service, inc.Escalation = long, long
			}
		}
		m := b.measure(t, fill(t, func(w io.Writer) error { return Replay(w, r) }), 360)
		if m.Width > m.View || len(m.Overlaps) > 0 {
			t.Errorf("page is %d wide on %d: %v, overlaps %q", m.Width, m.View, m.Overflow, m.Overlaps)
		}
	}
}

func TestE2EPrint(t *testing.T) {
	b := newBrowser(t)
	for name, page := range e2ePages(t) {
		source, paper := filepath.Join(b.dir, name+".html"), filepath.Join(b.dir, name+".pdf")
		if err := os.WriteFile(source, page, 0o600); err != nil {
			t.Fatal(err)
		}
		b.run(t, "--no-pdf-header-footer", "--print-to-pdf="+paper, "file://"+source)
		pdf, err := os.ReadFile(paper)
		if err != nil {
			t.Fatal(err)
		}
		pages := bytes.Count(pdf, []byte("/Type /Page\n")) + bytes.Count(pdf, []byte("/Type /Page/"))
		if !bytes.HasPrefix(pdf, []byte("%PDF")) || pages < 2 {
			t.Errorf("%s prints on %d pages, want each section on its own", name, pages)
		}
	}
}
