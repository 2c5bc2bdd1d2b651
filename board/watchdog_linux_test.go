package board

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The kernel's device takes any byte as food, and a V at the end as farewell.
func TestDeviceIsFedAndDisarmed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watchdog")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDevice(path, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if d.Interval() != 30*time.Second || d.Boot.CardReset() {
		t.Errorf("got %v, reset %v", d.Interval(), d.Boot.CardReset())
	}
	for range 2 {
		if err := d.Feed(); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "\x00\x00V" {
		t.Errorf("written: %q, %v", b, err)
	}
	if _, err := OpenDevice(filepath.Join(t.TempDir(), "none"), time.Second); err == nil {
		t.Error("a missing device was opened")
	}
}
