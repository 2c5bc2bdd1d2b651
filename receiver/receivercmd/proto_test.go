package receivercmd

import (
	"testing"

	"telemetry/receiver/sequence/columnpb/telemetrypb"
)

func TestProtoIsThatOfTheRegistry(t *testing.T) {
	out, err := command(t, "proto")
	if err != nil || out != telemetrypb.Schema {
		t.Errorf("%v, %q", err, out)
	}
}
