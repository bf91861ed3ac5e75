#!/bin/sh
# Builds the Kubernetes control plane of the e2e tests once, into a cache, and
# prints where it is. With --where it only says where it would be. With --run DIR
# it runs it, with its data and DIR/kubeconfig in that new folder, until Ctrl-C.
set -eu
run=""
if [ "${1:-}" = --run ]; then
	run=${2:?"--run needs a new folder"}
	[ ! -e "$run" ] || { echo "$run is there already: give a new folder" >&2; exit 1; }
	mkdir -p "$run"
	run=$(cd "$run" && pwd)
fi
cd "$(dirname "$0")/../plugins/kubernetes/controlplane"
hash=$(cat go.mod go.sum *.go | sha256sum | cut -c1-16)
bin="${XDG_CACHE_HOME:-$HOME/.cache}/sreagent/controlplane-$hash/controlplane"
if [ "${1:-}" != --where ] && [ ! -x "$bin" ]; then
	echo "building the Kubernetes control plane, once: 5 to 10 minutes on two cores" >&2
	mkdir -p "$(dirname "$bin")"
	v=k8s.io/component-base/version
	go build -ldflags "-s -w -X $v.gitVersion=v1.37.0 -X $v.gitMajor=1 -X $v.gitMinor=37" -o "$bin.new.$$" .
	mv "$bin.new.$$" "$bin" # at once, so that a test never sees half of it
fi
if [ -z "$run" ]; then
	echo "$bin"
	exit
fi
umask 077
token=$(head -c 16 /dev/urandom | sha256sum | cut -c1-32)
echo "$token,admin,1,\"system:masters\"" > "$run/tokens"
"$bin" --dir "$run" --tokens "$run/tokens" --admin-token "$token" 2> "$run/log" | {
	read -r _ address || { tail -n 5 "$run/log" >&2; exit 1; }
	cat > "$run/kubeconfig" <<-END
		apiVersion: v1
		kind: Config
		clusters: [{name: local, cluster: {server: "$address", insecure-skip-tls-verify: true}}]
		users: [{name: admin, user: {token: $token}}]
		contexts: [{name: local, context: {cluster: local, user: admin}}]
		current-context: local
	END
	echo "ready: export KUBECONFIG=$run/kubeconfig"
	cat
}
