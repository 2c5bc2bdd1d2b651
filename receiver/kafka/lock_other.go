//go:build !linux

package kafka

import (
	"fmt"
	"os"
)

// lockDir opens the lock file; other systems are for development and have no
// lock that ends with the process.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("kafka: lock file: %w", err)
	}
	return f, nil
}
