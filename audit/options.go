package audit

import (
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sreagent/sreagent/sre"
)

const (
	defaultOrigin       = "sreagent"
	defaultSegmentBytes = 64 << 20
	minSegmentBytes     = 4 << 10
	maxSegmentBytes     = 4 << 30
)

// Config is the section "audit" of the configuration file.
type Config struct {
	// Dir is the folder of the trail.
	Dir string `yaml:"dir"`
	// Origin names this trail in its checkpoints; it must be unique among the
	// trails that one witness follows.
	Origin string `yaml:"origin"`
	// KeyFile is the signing key; empty for trail.key in Dir.
	KeyFile string `yaml:"key_file"`
	// SegmentBytes is the size at which a new segment file is begun.
	SegmentBytes int64 `yaml:"segment_bytes"`
	// CheckpointOut is a second place for checkpoints, best on another machine's
	// disk; empty for none.
	CheckpointOut string `yaml:"checkpoint_out"`
}

// DefaultConfig returns the settings that hold where the file is silent.
func DefaultConfig() Config {
	return Config{Dir: "data/audit", Origin: defaultOrigin, SegmentBytes: defaultSegmentBytes}
}

// Validate returns everything that is wrong with the section; nil when all is
// well.
func (c Config) Validate() sre.Faults {
	var faults sre.Faults
	if strings.TrimSpace(c.Dir) == "" {
		faults.Add("dir", "is empty", "a folder that the agent may write")
	}
	if !validOrigin(c.Origin) {
		faults.Add("origin", strconv.Quote(c.Origin)+" cannot name a signer", "one word without spaces, control characters or plus signs, best like a host and path, such as example.org/sreagent")
	}
	if c.SegmentBytes < minSegmentBytes || c.SegmentBytes > maxSegmentBytes {
		faults.Add("segment_bytes", "is "+strconv.FormatInt(c.SegmentBytes, 10),
			strconv.Itoa(minSegmentBytes)+" to "+strconv.Itoa(maxSegmentBytes))
	}
	if c.CheckpointOut != "" && c.Dir != "" && filepath.Clean(c.CheckpointOut) == filepath.Join(c.Dir, checkpointName) {
		faults.Add("checkpoint_out", "is the trail's own checkpoint", "a file outside the trail's folder")
	}
	return faults
}

// Options returns what Open needs; the caller adds clock, log and registry.
func (c Config) Options() Options {
	return Options{
		Dir: c.Dir, Origin: c.Origin, KeyFile: c.KeyFile,
		SegmentBytes: c.SegmentBytes, CheckpointOut: c.CheckpointOut,
	}
}

// Options is all that Open needs. Only Dir is required.
type Options struct {
	// Dir is the folder of the trail; it is made when it is not there.
	Dir string
	// Origin names the trail in its checkpoints; empty for that of an existing
	// key, or "sreagent".
	Origin string
	// KeyFile holds the signing key, made with mode 0600 on first use, with the
	// public key beside it as <KeyFile>.pub; empty for trail.key in Dir.
	KeyFile string
	// SegmentBytes is the size at which a new segment file is begun; 0 for
	// 64 MiB. A batch of records is never split.
	SegmentBytes int64
	// Now gives the time that checkpoints are stamped with; nil for the clock.
	Now func() time.Time
	// Log is told of recoveries; nil for none.
	Log *slog.Logger
	// Registerer gets the metrics; nil for none.
	Registerer prometheus.Registerer
	// CheckpointOut is a second place for checkpoints; empty for none. Failing
	// to write there is logged and counted but does not break the trail.
	CheckpointOut string
}

func (o Options) withDefaults() Options {
	if o.KeyFile == "" {
		o.KeyFile = filepath.Join(o.Dir, keyName)
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// validOrigin follows what a signed note allows as the name of a signer; a
// control character would make the note itself malformed.
func validOrigin(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '+' || unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar
	})
}
