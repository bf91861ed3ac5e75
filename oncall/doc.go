// Package oncall is the human boundary: what people ask comes in over HTTP, what
// they must know goes out as alerts.
//
// It owns the queue of human inputs and the published view (Desk), the HTTP API
// with its roles and tokens (NewAPI, Tokens), the receivers of notices (Pager),
// the client that the command line uses (Client) and the plain-text pages for
// terminals (RenderPrompt and its sisters).
//
// It never decides anything. It authenticates, queues and shows: whether an
// approval still counts is the agent's to say, and the answer that a caller gets
// is the agent's answer, given after the records of that tick are durable.
//
// Read desk.go first, then api.go for the routes and pager.go for the way out.
package oncall
