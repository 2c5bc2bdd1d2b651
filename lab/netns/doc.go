// Package netns puts a car into a network namespace of its own whose only way
// out is a set of bad links, so that unchanged programs and the kernel's own TCP
// run over the model of package link. The entry point is [New], which needs root
// and /dev/net/tun; see [Available].
//
// Nothing it makes has a name outside this process: namespaces are held by
// descriptors and a thread, devices by descriptors, and children die with the
// thread. So all of it is gone when the process ends, however it ends. It links
// into tests and laboratory commands only, and works on Linux only.
package netns
