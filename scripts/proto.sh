#!/usr/bin/env bash
# Generates Go code from the .proto files, with protoc-gen-go as tools/go.mod pins
# it. Nothing changes when the files have not changed.
#
#   scripts/proto.sh
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/need.sh protoc=protobuf-compiler
plugin=$(go tool -modfile=tools/go.mod -n protoc-gen-go)
dir=receiver/sequence/columnpb/telemetrypb
protoc --plugin=protoc-gen-go="$plugin" --proto_path=$dir --go_out=$dir --go_opt=paths=source_relative batch.proto
# The version of protoc says nothing about what was generated.
sed -i '/^\/\/ \tprotoc  *v/d' $dir/batch.pb.go
