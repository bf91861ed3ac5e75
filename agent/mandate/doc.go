// Package mandate keeps what the agent has earned: a record of outcomes and of
// people's answers for each kind of action, service and runbook, and where each
// stands between watch, ask and act.
//
// It owns the ledger, a fold of the trail, and the judgement of it: what is due
// to be proposed to people, and what the agent takes from itself at once. It
// never raises a stance: that takes a person's word in the trail. It never reads
// a clock, and never decides on a plan; that is the gate's.
//
// Read ledger.go for what is remembered, then judge.go for what follows of it.
package mandate
