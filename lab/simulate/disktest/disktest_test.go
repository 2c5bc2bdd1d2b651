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

func TestOperatingSystem(t *testing.T) {
	disktest.Run(t, func(t *testing.T) (spool.Disk, string) { return spool.OS(), t.TempDir() })
}
