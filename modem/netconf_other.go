//go:build !linux

package modem

import "errors"

var errNoNetConfig = errors.New("modem: only Linux has tables of routes for each link")

// Apply always fails here.
func (NetConfig) Apply() error { return errNoNetConfig }

// Remove always fails here.
func (NetConfig) Remove() error { return errNoNetConfig }
