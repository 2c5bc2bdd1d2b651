//go:build !linux

package iio

const nonblock = 0
