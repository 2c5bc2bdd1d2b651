package spooltest

import (
	"time"

	"telemetry/spool"
)

// Slow is a disk that takes time, by package time and so in a synctest bubble by its
// clock.
type Slow struct {
	spool.Disk
	Sync           time.Duration // of a file or a directory
	BytesPerSecond int64         // written; 0: as fast as it goes
}

func (d Slow) write(n int) {
	if d.BytesPerSecond > 0 {
		time.Sleep(time.Duration(n) * time.Second / time.Duration(d.BytesPerSecond))
	}
}

// SyncDir takes a sync.
func (d Slow) SyncDir(dir string) error {
	time.Sleep(d.Sync)
	return d.Disk.SyncDir(dir)
}

// Write takes a sync and the time of its bytes.
func (d Slow) Write(name string, data []byte) error {
	d.write(len(data))
	time.Sleep(d.Sync)
	return d.Disk.Write(name, data)
}

// OpenLog opens a log that is as slow.
func (d Slow) OpenLog(dir string, n int) (spool.Log, error) {
	l, err := d.Disk.OpenLog(dir, n)
	return slowLog{l, d}, err
}

type slowLog struct {
	spool.Log
	d Slow
}

func (l slowLog) Append(recs [][]byte) error {
	n := 0
	for _, r := range recs {
		n += len(r)
	}
	l.d.write(n)
	return l.Log.Append(recs)
}

func (l slowLog) Sync() error {
	time.Sleep(l.d.Sync)
	return l.Log.Sync()
}
