//go:build !linux

package serialport

import "os"

// openControl opens a port. There is no lock beyond the library's own.
func openControl(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR, 0) }

// LowLatency knows no way to set it.
func LowLatency(string) (ftdi bool, err error) { return false, nil }
