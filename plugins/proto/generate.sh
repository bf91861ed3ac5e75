#!/bin/sh
# Makes the Go code of remediator.proto. With --check it makes it elsewhere and
# fails where the code that is checked in differs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v protoc >/dev/null; then
	echo "check-proto: skipped, protoc is not installed (apt-get install protobuf-compiler)"
	exit 0
fi
cd "$here/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
out=$here
[ "${1:-}" != --check ] || out=$scratch
for tool in google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc; do
	ln -s "$(go tool -n "$tool")" "$scratch/$(basename "$tool")"
done
module=github.com/sreagent/sreagent/plugins/proto
PATH="$scratch:$PATH" protoc -I . --go_out="$out" --go_opt=module=$module \
	--go-grpc_out="$out" --go-grpc_opt=module=$module plugins/proto/remediator.proto
[ "$out" = "$scratch" ] || exit 0
bad=0
for f in remediator.pb.go remediator_grpc.pb.go; do
	# The comment with the version of protoc depends on the machine.
	grep -v '^//.*protoc ' "$here/$f" >"$scratch/have"
	grep -v '^//.*protoc ' "$scratch/$f" | diff -u "$scratch/have" - || bad=1
done
[ $bad = 0 ] || echo "check-proto: the code in plugins/proto is not that of remediator.proto; run sh plugins/proto/generate.sh"
exit $bad
