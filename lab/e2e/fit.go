package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"telemetry/sensors/can"
	"telemetry/sensors/dbc"
)

// fits refuses a DBC file that knows no id of the log's first interface, which is
// the one that it is for: nothing would be there to compare.
func fits(log, db string) error {
	d, err := database(db)
	if err != nil {
		return err
	}
	f, err := os.Open(log)
	if err != nil {
		return fmt.Errorf("e2e: log: %w", err)
	}
	defer f.Close()
	r, err := can.NewReader(f, can.StampAuto)
	if err != nil {
		return fmt.Errorf("e2e: log %s: %w", log, err)
	}
	defer r.Close()
	var frame can.Frame
	first, ids := "", map[uint32]bool{}
	var others []string // interfaces with ids that it knows
	for {
		err := r.Next(&frame)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("e2e: log %s: %w", log, err)
		}
		if first == "" {
			first = frame.Bus
		}
		known := !frame.Err && !frame.RTR && d.Lookup(frame.ID, frame.Extended) != nil
		switch {
		case frame.Bus == first && known:
			return nil
		case frame.Bus == first:
			ids[frame.ID] = true
		case known && !slices.Contains(others, frame.Bus):
			others = append(others, frame.Bus)
		}
	}
	hint := "is it of this car?"
	if len(others) > 0 {
		hint = fmt.Sprintf("it knows some of %s: give a log that begins with that interface, as `grep ' %s ' LOG` makes", strings.Join(others, " and "), others[0])
	}
	return fmt.Errorf("e2e: %s knows none of the %d ids of %s, the first interface of %s (%s)", db, len(ids), first, log, hint)
}

func database(path string) (*dbc.Database, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("e2e: dbc: %w", err)
	}
	defer f.Close()
	file, _, err := dbc.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("e2e: dbc %s: %w", path, err)
	}
	d, _ := dbc.Compile(file)
	return d, nil
}
