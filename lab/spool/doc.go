// Package spool breaks the spool on purpose and measures it: processes of its
// own write, die and read back, on disks that lose, rot, fill up and fail.
//
// The entry points are [Crash], [Bench] and [Child], which the other two start
// as fresh processes. What was acknowledged is kept off the disk under test, by
// the process that watches. The package never runs beside an agent.
package spool
