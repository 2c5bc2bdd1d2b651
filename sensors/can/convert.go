package can

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// HowToConvert says how a log whose name ends as another program's do becomes
// one that is read here; of others it says nothing.
func HowToConvert(path string) string {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".asc", ".blf", ".trc", ".mf4", ".csv":
		return fmt.Sprintf("; files %s are converted first: python -m can.logconvert %s %s.log", ext, path, strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
	}
	return ""
}

// lookBytes is how far into a log [Look] reads.
const lookBytes = 1 << 20

// Look reports why the beginning of a log, which is called path, has no frame;
// nil: it has one.
func Look(r io.Reader, path string) error {
	rd, err := NewReader(io.LimitReader(r, lookBytes), StampAuto)
	if err != nil {
		return err
	}
	defer rd.Close()
	var f Frame
	if err := rd.Next(&f); errors.Is(err, io.EOF) {
		return fmt.Errorf("can: no frame in the log: is it a candump log?%s", HowToConvert(path))
	} else if err != nil {
		return err
	}
	return nil
}
