package socketcan

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// answer is what the kernel says of a controller that is up.
func answer(bitrate, dataRate, mode, restartMS uint32) []byte {
	word := func(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
	timing := func(rate uint32) []byte { return append(word(rate), make([]byte, timingBytes-4)...) }
	data := attribute(nil, canTiming, timing(bitrate))
	data = attribute(data, canDataTiming, timing(dataRate))
	data = attribute(data, canControl, append(word(0), word(mode)...))
	data = attribute(data, canRestart, word(restartMS))
	info := attribute(nil, infoKind, []byte("can\x00"))
	info = attribute(info, infoData|nestedAttr, data)
	head := make([]byte, infoBytes)
	binary.NativeEndian.PutUint32(head[8:], unix.IFF_UP)
	return attribute(head, unix.IFLA_LINKINFO|nestedAttr, info)
}

// TestControllerThatDiffersIsSetAnew: a controller that an earlier start has set up keeps
// running only if it is as this start's configuration wants it, also once it is bus off.
func TestControllerThatDiffersIsSetAnew(t *testing.T) {
	want := Config{Bitrate: 500_000, DataBitrate: 2_000_000, RestartMS: 100}
	for _, tc := range []struct {
		name string
		is   []byte
		cfg  func(c *Config)
		set  bool
	}{
		{"as wanted", answer(500_000, 2_000_000, controlListen|controlFD, 100), nil, true},
		{"another bit rate", answer(250_000, 2_000_000, controlListen|controlFD, 100), nil, false},
		{"another data bit rate", answer(500_000, 4_000_000, controlListen|controlFD, 100), nil, false},
		{"it acknowledges", answer(500_000, 2_000_000, controlFD, 100), nil, false},
		{"it never restarts", answer(500_000, 2_000_000, controlListen|controlFD, 0), nil, false},
		{"it restarts later", answer(500_000, 2_000_000, controlListen|controlFD, 5000), nil, false},
		{"it restarts and should not", answer(500_000, 2_000_000, controlListen|controlFD, 100), func(c *Config) { c.RestartMS = 0 }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, err := parseLink(tc.is)
			if err != nil || !l.controller {
				t.Fatalf("%+v, %v", l, err)
			}
			c := want
			if tc.cfg != nil {
				tc.cfg(&c)
			}
			if got := l.isSet(&c, true); got != tc.set {
				t.Errorf("is set: %v, want %v (%+v)", got, tc.set, l)
			}
		})
	}
}
