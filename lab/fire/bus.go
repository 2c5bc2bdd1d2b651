package fire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"telemetry/lab/slcan"
	"telemetry/sensors/can"
)

// busRate is the bit rate of the emulated bus; an adapter that is set to another
// one hears nothing.
const busRate = 500_000

// bus is an adapter on a bus on which a log is played at the speed at which it
// was recorded.
type bus struct {
	*slcan.Adapter
	feed     *slcan.Log
	firmware slcan.Firmware
}

// openBus plugs an adapter in at the path port. Its bus begins when a host has
// opened the channel.
func openBus(log, port string, clock can.Clock) (*bus, error) {
	first, fd, err := survey(log)
	if err != nil {
		return nil, err
	}
	b := &bus{}
	if fd {
		b.firmware = slcan.LawicelFD
	}
	if b.feed, err = slcan.OpenLog(log); err != nil {
		return nil, err
	}
	b.Adapter, err = slcan.New(slcan.Config{
		Link: port, Firmware: b.firmware, Feed: &oneBus{Feed: b.feed, name: first}, Speed: 1, Rate: busRate, Clock: clock,
	})
	if err == nil {
		err = b.Plug()
	}
	if err != nil {
		return nil, errors.Join(err, b.feed.Close())
	}
	return b, nil
}

// Run plays the log until ctx ends.
func (b *bus) Run(ctx context.Context) error {
	return errors.Join(b.Adapter.Run(ctx), b.feed.Close())
}

// survey returns a log's first interface, and whether frames of it are CAN FD.
func survey(log string) (first string, fd bool, err error) {
	in, err := slcan.OpenLog(log)
	if err != nil {
		return "", false, err
	}
	defer in.Close()
	var f can.Frame
	for {
		err := in.Next(context.Background(), &f)
		switch {
		case errors.Is(err, io.EOF) && first != "":
			return first, fd, nil
		case err != nil:
			return "", false, fmt.Errorf("fire: log %s: %w", log, err)
		case first == "":
			first = f.Bus
		}
		fd = fd || f.FD && f.Bus == first
	}
}

// Stamps of a log that fall by more than stepBack, or leave out more than maxGap,
// are those of a clock that was set: no time passes there.
const (
	stepBackNS = int64(1e9)
	maxGapNS   = int64(3600e9)
)

// oneBus gives the whole frames of one interface; their stamps never fall.
type oneBus struct {
	slcan.Feed
	name   string
	begun  bool
	offset int64
	last   int64
}

// Next returns the next frame of the interface.
func (o *oneBus) Next(ctx context.Context, f *can.Frame) error {
	for {
		if err := o.Feed.Next(ctx, f); err != nil {
			return err
		}
		if f.Bus == o.name && !f.Cut {
			break
		}
	}
	at := f.StampNS + o.offset
	switch {
	case !o.begun:
		o.begun = true
	case at < o.last-stepBackNS || at > o.last+maxGapNS:
		o.offset += o.last - at
		at = o.last
	default:
		at = max(at, o.last)
	}
	f.StampNS, o.last = at, at
	return nil
}

// dialect is how the source must speak with the adapter.
func (b *bus) dialect() string {
	if b.firmware == slcan.LawicelFD {
		return "lawicel-fd"
	}
	return "lawicel"
}

// fates are what the truth file calls them.
var fates = map[slcan.Fate]string{
	slcan.Buffered: "buffered", slcan.Read: "read", slcan.Unheard: "unheard",
	slcan.Dropped: "dropped", slcan.Unread: "unread", slcan.Repeated: "repeated",
}

// write writes what was on the bus, a line per frame that can hold values: remote
// requests and error frames, which adapters do not report, are left out.
func (b *bus) write(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("fire: truth: %w", err)
	}
	defer file.Close()
	out := bufio.NewWriter(file)
	for _, s := range b.Truth() {
		if s.Frame.RTR || s.Frame.Err {
			continue
		}
		ext := 0
		if s.Frame.Extended {
			ext = 1
		}
		// An error of the buffer stays until Flush.
		_, _ = fmt.Fprintf(out, "%d %s %d %d %x\n", s.BootNS, fates[s.Fate], s.Frame.ID, ext, s.Frame.Data())
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("fire: truth: %w", err)
	}
	return nil
}
