//go:build !linux

package spool

import "os"

// syncData makes a file's data durable.
func syncData(f *os.File) error { return f.Sync() }

// dropCached does nothing: there is no such advice here.
func dropCached(*os.File) {}
