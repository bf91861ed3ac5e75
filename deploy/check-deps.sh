#!/bin/sh
# The dependency rule, by the compiler's own list of imports: logic never
# imports an adapter, an adapter never imports logic, sre imports nothing of
# ours, and the guard stays light. The linter says the same with better words;
# this needs nothing but Go.
set -eu
mod=$(go list -m)
bad=0

# deny FROM PATTERN: FROM must not import, directly or through others, a
# package of ours that matches PATTERN.
deny() {
	hits=$(go list -deps "./$1/..." | grep -E "^$mod/($2)(/|\$)" || true)
	if [ -n "$hits" ]; then
		echo "$1 must not import:" $hits
		bad=1
	fi
}

adapters='sources|remediators|plugins|oncall|audit|cluster'
logic='agent|diagnosis|detectors|runbooks|learner'

deny sre "$adapters|$logic|replay|demo|cmd|guard"
deny guard "sre|$adapters|$logic|replay|demo|cmd"
for p in agent diagnosis detectors runbooks learner; do
	deny $p "$adapters|replay|demo|cmd|guard"
done
for p in diagnosis detectors runbooks learner; do
	deny $p agent
done
for p in sources remediators plugins oncall audit; do
	deny $p "$logic|replay|demo|cmd"
done
deny replay "sources|remediators|plugins|oncall|audit|demo|cmd"

# only PACKAGE PATTERN: but for the packages that match PATTERN none of ours
# imports PACKAGE or one below it.
only() {
	hits=$(go list -f '{{.ImportPath}} {{join .Imports " "}}' ./... | grep -E " $1(/| |\$)" | cut -d' ' -f1 | grep -vE "^$mod/($2)(/|\$)" || true)
	if [ -n "$hits" ]; then
		echo "only $2 may import $1:" $hits
		bad=1
	fi
}

only k8s.io/client-go plugins/kubernetes
only github.com/redis/go-redis 'guard/redislimit|guard/sidecar'
exit $bad
