// Package audit keeps the trail: every record that the agent made, in order,
// durable before anything outside is touched, and in a form that a third party
// can check.
//
// It owns the files of the trail. Records are JSON lines in segment files; each
// line is a leaf of an RFC 6962 Merkle tree, and every append ends in a
// checkpoint of that tree, signed as a C2SP tlog-checkpoint. The hashes of the
// tree stand beside the segments, so that damage can be named line by line. It
// also owns the redaction of secrets on the way in and the words in which
// `sreagent audit show` tells the trail to people.
//
// It never decides anything, never reads the meaning of a record except to show
// it, never deletes an acknowledged record, and never goes on after a failed
// write: a trail that could not write refuses every later append.
//
// Layout of a trail folder:
//
//	lock                                held by the process that appends
//	segment-00000000000000000000.jsonl  records; named by the first sequence number
//	segment-00000000000000000000.hashes the tree's hashes for those records
//	checkpoint                          the latest signed checkpoint
//	trail.key, trail.key.pub            signing key (unless it lives elsewhere) and public key
//
// Read trail.go for how a record becomes durable, recover.go for what a start
// accepts and refuses, verify.go and locate.go for how damage is found and
// named, prove.go for proofs that stand without the trail.
package audit
