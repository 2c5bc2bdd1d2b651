// Package vm runs a program in a throw-away virtual machine with a kernel that
// has CAN: vcan, vxcan and the line discipline of SLCAN.
//
// The entry point is [Run]. The guest's root holds busybox and modules only; it
// sees one folder of the host, read-only, at the same path. The program must be
// linked statically. Its output comes while it runs; the machine is gone when
// Run returns, whatever happened.
//
// The machine is emulated: times inside say nothing about hardware.
package vm
