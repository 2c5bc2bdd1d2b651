#!/usr/bin/env bash
# Builds the receiver's container image from Containerfile.
#
#   scripts/image.sh [NAME]    NAME: default localhost/receiver:VERSION
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(scripts/version.sh)
name=${1:-localhost/receiver:${version//+/-dirty}}

engine=()
for e in podman docker; do
	if command -v $e >/dev/null && $e info >/dev/null 2>&1; then
		engine=("$e")
		break
	fi
done
if [ ${#engine[@]} = 0 ]; then
	scripts/need.sh podman runc buildah
	# crun fails where user namespaces are limited; runc works there.
	engine=(podman --runtime runc --cgroup-manager cgroupfs)
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
CGO_ENABLED=0 GOOS=linux go build -trimpath -buildvcs=false \
	-ldflags "-s -w -buildid= -X telemetry/internal/version.stamp=$version" -o "$context/receiver" ./cmd/receiver
cp /etc/ssl/certs/ca-certificates.crt "$context/"
mkdir "$context/data"
format=()
[ "${engine[0]}" = podman ] && format=(--format docker)
"${engine[@]}" build "${format[@]}" \
	--label org.opencontainers.image.title=receiver --label org.opencontainers.image.version="$version" -t "$name" -f Containerfile "$context"
echo "image: $name"
