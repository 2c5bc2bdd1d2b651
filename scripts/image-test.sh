#!/usr/bin/env bash
# Builds the image and runs it as deploy/ does: not root, no capabilities, a root file
# system that cannot be written. It must become ready, keep its embedded Kafka in /data,
# answer its own health check, show its page by https and to nobody without a token, and
# end by itself with code 0 when it is told to.
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
live:
  listen: ":${PAGE_PORT:-0}"
  tls: {cert: certs/page.crt, key: certs/page.key}
  login: {tokens: tokens/tokens}
health: {listen: "127.0.0.1:0"}
socket: /run/receiver/receiver.sock
YAML
# Limits below those of the caller: raising them may be forbidden.
limits=(--ulimit nofile=1024:1024 --ulimit nproc=1024:1024)
# The image makes its own identity and tokens; they are its user's then, as in docs/deploy.md.
tool() { "${engine[@]}" run --rm --user 0:0 --network none "${limits[@]}" -v "$etc:/etc/receiver" "$image" "$@"; }
mkdir "$etc/tokens"
tool ca init --dir /etc/receiver/ca >/dev/null
tool ca issue page --dir /etc/receiver/ca --host localhost --out /etc/receiver/certs >/dev/null
token=$(tool page token add test --role viewer --file /etc/receiver/tokens/tokens 2>/dev/null)
tool page token add other --role viewer --file /etc/receiver/tokens/tokens >/dev/null 2>&1
chown -R 65532:65532 "$etc/certs" "$etc/tokens"
chmod 755 "$etc"
chmod 644 "$etc/receiver.yaml"

"${engine[@]}" run -d --name "$name" --read-only --cap-drop ALL --security-opt no-new-privileges --network host \
	"${limits[@]}" --tmpfs /run/receiver:mode=0777 -v "$etc:/etc/receiver:ro" "$image" >/dev/null

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

page=https://localhost:$(grep -o '"live": *"[^"]*"' <<<"$status" | grep -o '[0-9]*"$' | tr -d '"')/api/v1/me
me() { curl -sS -o /dev/null -w '%{http_code}' --cacert "$etc/ca/ca.crt" "$@" "$page"; }
[ "$(me)" = 401 ] || fail "the page answers without a token: $(me)"
[ "$(me -H "Authorization: Bearer $token")" = 200 ] || fail "the page does not take a good token"
tool page token revoke test --file /etc/receiver/tokens/tokens >/dev/null
for _ in $(seq 40); do
	[ "$(me -H "Authorization: Bearer $token")" = 401 ] && break
	sleep 0.25 # until the condition above, 10 s at most
done
[ "$(me -H "Authorization: Bearer $token")" = 401 ] || fail "a revoked token is good"
[ "$(stat -c %u "$etc/tokens/tokens")" = 65532 ] || fail "the file of tokens has changed its owner"

pid=$("${engine[@]}" inspect -f '{{.State.Pid}}' "$name")
grep -Eq '^Uid:.65532.65532' "/proc/$pid/status" || fail "does not run as 65532"
grep -Eq '^CapEff:.0+$' "/proc/$pid/status" || fail "has capabilities"
grep -Eq '^NoNewPrivs:.1$' "/proc/$pid/status" || fail "may gain privileges"

"${engine[@]}" stop -t 30 "$name" >/dev/null
code=$("${engine[@]}" inspect -f '{{.State.ExitCode}}' "$name")
[ "$code" = 0 ] || fail "ended with $code after SIGTERM"
grep -q 'msg=draining' <<<"$("${engine[@]}" logs "$name" 2>&1)" || fail "did not drain"
echo "image-test: ready, page behind TLS and token, not root, read-only, drained with code 0"
