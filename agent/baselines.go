package agent

// keeper is a detector bank whose memory outlives the process.
type keeper interface {
	State() []byte
	Restore(state []byte) error
}

// Baselines returns what the detectors have learned of every series, nil where
// they keep nothing. It must not be called while Run runs.
func (a *Agent) Baselines() []byte {
	if k, ok := a.mind.senses.(keeper); ok {
		return k.State()
	}
	return nil
}

// Recall gives the detectors what Baselines returned in an earlier life. It comes
// before Run; the warm-up then adds what happened since. An error means that the
// bytes are of another version or broken, and that the detectors begin anew.
func (a *Agent) Recall(baselines []byte) error {
	if k, ok := a.mind.senses.(keeper); ok {
		return k.Restore(baselines)
	}
	return nil
}
