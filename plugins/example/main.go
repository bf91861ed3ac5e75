// Command example is a plugin to begin with: a lever that switches features off
// in JSON files, which many programs can watch. It is small, and complete: it
// refuses stale writers, remembers what it found, lets its settings lapse, and
// survives being killed at any moment. The README beside it leads through it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/sreagent/sreagent/plugins/sdk"
)

func main() {
	dir := flag.String("dir", "", "folder with a file SERVICE.json for each service")
	flag.Parse()
	if info, err := os.Stat(*dir); err != nil || !info.IsDir() {
		// Standard output belongs to the handshake; standard error goes to
		// sreagent's log.
		fmt.Fprintf(os.Stderr, "--dir %q is not a folder\n", *dir)
		os.Exit(2)
	}
	l := &lever{dir: *dir, now: time.Now}
	go keepSweeping(l)
	sdk.Serve(l)
}

// keepSweeping takes back what has lapsed, also what an earlier process left. It
// runs as long as the process.
func keepSweeping(l *lever) {
	for {
		if err := l.sweep(context.Background()); err != nil {
			fmt.Fprintf(os.Stderr, "sweep: %v\n", err)
		}
		time.Sleep(time.Second)
	}
}
