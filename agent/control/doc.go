// Package control holds the laws that move a lever while it is in force: the
// rate cap of an overloaded service, the stages of a kill switch, the number of
// replicas.
//
// A law is a pure function of what it remembers and of one scene. It sets
// absolute values, never increments; without fresh readings it holds still. It
// never decides whether a lever may be touched (the gate does), never talks to
// one (the executor does), and keeps nothing: its memory is a sre.Control, which
// lies in the trail.
//
// Read Law first, then overload.go.
package control
