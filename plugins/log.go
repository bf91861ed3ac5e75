package plugins

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/sreagent/sreagent/plugins/wire"
)

// What a plugin may have logged: linesPerSecond after a first linesBurst, of
// lineLength bytes each. What is beyond is dropped and counted.
const (
	linesPerSecond = 20
	linesBurst     = 200
	lineLength     = 2048
)

// voice is what one plugin says on its output streams, on its way to the log.
type voice struct {
	log     *slog.Logger
	limit   *rate.Limiter
	dropped prometheus.Counter
	unsaid  unsaid
}

// unsaid counts what has been dropped since the last line that was not.
type unsaid struct {
	mu sync.Mutex
	n  int
}

func newVoice(log *slog.Logger, dropped prometheus.Counter) *voice {
	return &voice{log: log, limit: rate.NewLimiter(linesPerSecond, linesBurst), dropped: dropped}
}

// stream returns the writer of one stream, for one goroutine.
func (v *voice) stream(name string) *lines { return &lines{voice: v, stream: name} }

// lines cuts a stream into lines and holds at most one.
type lines struct {
	voice  *voice
	stream string
	held   []byte
}

// Write never fails: a plugin's log is no reason to stop it.
func (l *lines) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		room := min(lineLength-len(l.held), len(line))
		l.held = append(l.held, line[:room]...)
		if whole {
			l.voice.say(l.stream, l.held)
			l.held = l.held[:0]
		}
		b = rest
	}
	return n, nil
}

// say logs one line. The lines of hclog, which go-plugin writes, have a level.
func (v *voice) say(stream string, line []byte) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	if !v.limit.Allow() {
		v.dropped.Inc()
		v.unsaid.mu.Lock()
		v.unsaid.n++
		v.unsaid.mu.Unlock()
		return
	}
	v.unsaid.mu.Lock()
	missed := v.unsaid.n
	v.unsaid.n = 0
	v.unsaid.mu.Unlock()
	if missed > 0 {
		v.log.Warn("plugin says too much, lines dropped", "lines", missed)
	}
	level, said := slog.LevelInfo, string(line)
	var entry struct {
		Level   string `json:"@level"`
		Message string `json:"@message"`
		Error   string `json:"error"`
	}
	if json.Unmarshal(line, &entry) == nil && entry.Message != "" {
		level, said = levelOf(entry.Level), entry.Message
		if entry.Error != "" {
			said += ": " + entry.Error
		}
	}
	v.log.Log(context.Background(), level, "plugin says", "stream", stream, "text", wire.Clean(said, lineLength))
}

func levelOf(hclog string) slog.Level {
	switch hclog {
	case "trace", "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
