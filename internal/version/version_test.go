package version_test

import (
	"runtime"
	"testing"

	"telemetry/internal/version"
)

func TestGet(t *testing.T) {
	v := version.Get("edgeagent")
	if v.Name != "edgeagent" || v.Version == "" || v.Go != runtime.Version() {
		t.Errorf("got %+v", v)
	}
	if got, want := v.String(), "edgeagent "+v.Version+" ("+v.Go+" "+v.OS+"/"+v.Arch+")"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
