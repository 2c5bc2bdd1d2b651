package clock

import (
	"testing"
	"testing/fstest"
	"time"
)

func TestBootTimeNeverGoesBack(t *testing.T) {
	var c System
	last := c.BootNS()
	for range 10_000 {
		now := c.BootNS()
		if now < last {
			t.Fatalf("boot time went from %d to %d", last, now)
		}
		last = now
	}
}

func TestCompareAgreesWithTheSystemClock(t *testing.T) {
	r := System{}.Compare()
	if r.UncertaintyNS <= 0 {
		t.Errorf("uncertainty: got %d ns, want more than 0", r.UncertaintyNS)
	}
	if d := time.Since(time.Unix(0, r.UTCNS)).Abs(); d > time.Second {
		t.Errorf("UTC differs from time.Now by %v", d)
	}
	if d := (System{}).BootNS() - r.BootNS; d < 0 || d > int64(time.Second) {
		t.Errorf("boot time differs by %d ns", d)
	}
}

func TestBootID(t *testing.T) {
	tests := []struct {
		name, content string
		ok            bool
	}{
		{"as the kernel writes it", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0\n", true},
		{"short", "0f1e\n", false},
		{"no hex", "zz1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fsys := fstest.MapFS{"sys/kernel/random/boot_id": {Data: []byte(tt.content)}}
			id, err := BootID(fsys)
			if (err == nil) != tt.ok {
				t.Fatalf("got %v, want ok=%v", err, tt.ok)
			}
			if tt.ok && (id[0] != 0x0f || id[15] != 0xf0) {
				t.Errorf("got %x", id)
			}
		})
	}
	if _, err := BootID(fstest.MapFS{}); err == nil {
		t.Error("a missing file gave no error")
	}
}
