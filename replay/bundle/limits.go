package bundle

// cutLine is how many bytes of a line a message repeats.
const cutLine = 80

// Bounds on what is held in memory at once and does not depend on Limits.
const (
	maxIncident = 1 << 20   // bytes of incident.yaml
	maxYAML     = 4 << 20   // bytes of topology.yaml and of signals.yaml; 100,000 edges, for which their parser takes 1 GB
	maxLines    = 256 << 20 // bytes of changes.jsonl and of trail.jsonl
	maxJSONLine = 16 << 20  // bytes of one line of them
	maxOMLine   = 1 << 20   // bytes of one line of metrics.om
)

// Limits bounds what a bundle may cost its reader. A zero field means the
// default.
type Limits struct {
	Archive int64 // bytes of an archive, uncompressed
	Entries int   // files and folders in an archive
	File    int64 // bytes of one file, uncompressed
	Series  int   // series in the metrics
}

// DefaultLimits returns limits that leave room for a thousand services over a
// week.
func DefaultLimits() Limits {
	return Limits{Archive: 2 << 30, Entries: 64, File: 1 << 30, Series: 2_000_000}
}

func (l Limits) withDefaults() Limits {
	def := DefaultLimits()
	if l.Archive <= 0 {
		l.Archive = def.Archive
	}
	if l.Entries <= 0 {
		l.Entries = def.Entries
	}
	if l.File <= 0 {
		l.File = def.File
	}
	if l.Series <= 0 {
		l.Series = def.Series
	}
	return l
}
