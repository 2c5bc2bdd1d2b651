package disktest_test

import (
	"testing"

	"telemetry/lab/simulate/disktest"
	"telemetry/spool"
	"telemetry/spool/spooltest"
)

func TestModel(t *testing.T) {
	disktest.Run(t, func(t *testing.T) (spool.Disk, string) {
		d := spooltest.New().Boot()
		if err := d.MkdirAll("spool"); err != nil {
			t.Fatal(err)
		}
		return d, "spool"
	})
}

func TestModelFull(t *testing.T) {
	disktest.Full(t, roomBytes, func(t *testing.T) (spool.Disk, string) {
		m := spooltest.New()
		m.SetLimit(roomBytes - 4096)
		d := m.Boot()
		if err := d.MkdirAll("spool"); err != nil {
			t.Fatal(err)
		}
		return d, "spool"
	})
}

// roomBytes is a little more than the small disks have.
const roomBytes = 256 << 10

func TestOperatingSystem(t *testing.T) {
	disktest.Run(t, func(t *testing.T) (spool.Disk, string) { return spool.OS(), t.TempDir() })
}
