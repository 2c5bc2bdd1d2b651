//go:build !mcap

package spoolcmd

import (
	"errors"
	"io"
)

func newMCAP(io.Writer) (exporter, error) {
	return nil, errors.New("this binary was built without MCAP (build tag mcap)")
}
