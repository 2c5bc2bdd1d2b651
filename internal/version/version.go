// Package version says what was built. The entry point is [Get]; the stamp is
// set by the linker and is "dev" in a plain go build.
package version

import "runtime"

// stamp is set with -ldflags "-X telemetry/internal/version.stamp=…".
var stamp = "dev"

// Info describes a binary.
type Info struct {
	Name    string `json:"name"`
	Version string `json:"version"` // of the source: a tag, or a commit
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// Get returns what is known of this binary, called name.
func Get(name string) Info {
	return Info{Name: name, Version: stamp, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
}

// String returns "name version (go1.26 linux/arm)".
func (i Info) String() string {
	return i.Name + " " + i.Version + " (" + i.Go + " " + i.OS + "/" + i.Arch + ")"
}
