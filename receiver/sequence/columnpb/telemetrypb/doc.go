// Package telemetrypb is the Go side of batch.proto, which outputs in format
// protobuf and protobuf-raw carry. All but [Schema] is generated, see
// scripts/proto.sh.
package telemetrypb

import _ "embed" // for the schema

// Schema is batch.proto, as it goes to a schema registry.
//
//go:embed batch.proto
var Schema string
