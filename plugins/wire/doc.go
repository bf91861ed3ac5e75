// Package wire turns the vocabulary of sre into the messages of the plugin
// protocol and back. Both ends use it: the host through Client, a plugin
// through Server. It opens no connection and starts no process.
//
// The two directions differ in trust. What the host sends is its own; what a
// plugin answers comes from another program, so every answer is held against
// the limits in check.go before the agent sees it.
package wire
