#!/usr/bin/env bash
# Builds the image and runs it as deploy/ does: not root, no capabilities, a root file
# system that cannot be written. It must become ready, keep its embedded Kafka in /data,
# answer its own health check, and end by itself with code 0 when it is told to.
#
#   scripts/image-test.sh
set -euo pipefail
cd "$(dirname "$0")/.."

image=localhost/receiver:test
scripts/image.sh "$image" >/dev/null
engine=(podman)
if docker info >/dev/null 2>&1; then
	engine=(docker)
elif command -v runc >/dev/null; then # crun fails where user namespaces are limited
	engine=(podman --runtime runc --cgroup-manager cgroupfs)
fi

name=receiver-test-$$
etc=$(mktemp -d)
cleanup() {
	"${engine[@]}" rm -f -v "$name" >/dev/null 2>&1 || true
	rm -rf "$etc"
}
trap cleanup EXIT
cat >"$etc/receiver.yaml" <<'YAML'
version: 1
name: test
mqtt: {listen: "127.0.0.1:0", insecure: true}
kafka: {embedded: {dir: /data/kafka, port: 0}, partitions: 2}
live: {listen: "off"}
health: {listen: "127.0.0.1:0"}
socket: /run/receiver/receiver.sock
YAML
chmod 755 "$etc"
chmod 644 "$etc/receiver.yaml"

# Limits below those of the caller: raising them may be forbidden.
"${engine[@]}" run -d --name "$name" --read-only --cap-drop ALL --security-opt no-new-privileges --network host \
	--ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --tmpfs /run/receiver:mode=0777 -v "$etc:/etc/receiver:ro" "$image" >/dev/null

fail() {
	echo "image-test: $*" >&2
	"${engine[@]}" logs "$name" >&2 || true
	exit 1
}
asks() { "${engine[@]}" exec "$name" /receiver status --socket /run/receiver/receiver.sock --json 2>/dev/null; }
for _ in $(seq 120); do
	status=$(asks || true)
	grep -q '"ready": *true' <<<"$status" && break
	sleep 0.25 # until the condition above, 30 s at most
done
grep -q '"ready": *true' <<<"$status" || fail "never ready: $status"

addr=$(grep -o '"health": *"[^"]*"' <<<"$status" | cut -d'"' -f4)
grep -qx ready <<<"$(curl -fsS "http://$addr/readyz")" || fail "/readyz of $addr is not ready"
grep -qx 'telemetry_receiver_ready 1' <<<"$(curl -fsS "http://$addr/metrics")" || fail "no metrics at $addr"

pid=$("${engine[@]}" inspect -f '{{.State.Pid}}' "$name")
grep -Eq '^Uid:.65532.65532' "/proc/$pid/status" || fail "does not run as 65532"
grep -Eq '^CapEff:.0+$' "/proc/$pid/status" || fail "has capabilities"
grep -Eq '^NoNewPrivs:.1$' "/proc/$pid/status" || fail "may gain privileges"

"${engine[@]}" stop -t 30 "$name" >/dev/null
code=$("${engine[@]}" inspect -f '{{.State.ExitCode}}' "$name")
[ "$code" = 0 ] || fail "ended with $code after SIGTERM"
grep -q 'msg=draining' <<<"$("${engine[@]}" logs "$name" 2>&1)" || fail "did not drain"
echo "image-test: ready, not root, read-only, drained with code 0"
