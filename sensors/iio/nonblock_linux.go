package iio

import "golang.org/x/sys/unix"

// nonblock lets reads end at a deadline.
const nonblock = unix.O_NONBLOCK
