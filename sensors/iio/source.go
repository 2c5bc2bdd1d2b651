package iio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"telemetry/sensors"
	"telemetry/wire"
)

// Clock is what a source needs of the machine's clocks.
type Clock interface{ BootNS() int64 }

// Config says which device to capture and how.
type Config struct {
	Name      string   // of the group, and before the channels' names
	Device    string   // as iio:device0, or the name that its driver gives it
	Channels  []string // as accel_x; empty means all that the buffer can have
	RateHz    float64  // 0 leaves it as it is
	Trigger   string   // empty leaves it as it is
	Length    int      // of the kernel's buffer in samples; 0 means half a second, at least 64
	Watermark int      // samples after which the reader is woken; 0 means 10 ms of them
	Sys, Dev  string   // empty mean /sys/bus/iio/devices and /dev
	Clock     Clock
	Log       *slog.Logger // nil: nothing is logged
}

// Pace of the loop.
const (
	readWait   = 100 * time.Millisecond // bounds how late a stop is seen
	readBytes  = 64 << 10
	maxDelayNS = int64(5_000_000_000) // of a stamp behind its arrival; a worse one is of another clock
	timestamp  = "in_timestamp"
	minLength  = 64
)

// Source captures one device.
type Source struct {
	cfg      Config
	dir      string
	all      []element // that the buffer can have
	taken    []element // in a row
	stamp    *element  // nil: the driver gives none
	size     int       // bytes of a sample
	group    wire.Group
	periodNS int64
	log      *slog.Logger
	count    struct{ opens, bytes, samples, lost, gaps, stamps, unsynced atomic.Uint64 }
}

var (
	_ sensors.Source = (*Source)(nil)
	_ sensors.Health = (*Source)(nil)
)

// New reads what the device offers. It changes nothing.
func New(cfg Config) (*Source, error) {
	if cfg.Sys == "" {
		cfg.Sys = "/sys/bus/iio/devices"
	}
	if cfg.Dev == "" {
		cfg.Dev = "/dev"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil || cfg.Name == "" || cfg.RateHz < 0 || cfg.Length < 0 || cfg.Watermark < 0 {
		return nil, errors.New("iio: name or clock are missing, or a number is negative")
	}
	dir, err := find(cfg.Sys, cfg.Device)
	if err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, dir: dir, log: cfg.Log, group: wire.Group{Name: cfg.Name, Lane: wire.LaneFull}}
	if s.all, err = elements(dir); err != nil {
		return nil, err
	}
	var used []element
	for _, e := range s.all {
		if e.name == timestamp || len(cfg.Channels) == 0 || slices.Contains(cfg.Channels, e.name[len("in_"):]) {
			used = append(used, e)
		}
	}
	s.size = place(used)
	for i := range used {
		if used[i].name == timestamp {
			s.stamp = &used[i]
			continue
		}
		c, err := channel(dir, cfg.Name, &used[i])
		if err != nil {
			return nil, err
		}
		s.taken, s.group.Channels = append(s.taken, used[i]), append(s.group.Channels, c)
	}
	if len(s.taken) == 0 || len(cfg.Channels) > 0 && len(s.taken) != len(cfg.Channels) {
		return nil, fmt.Errorf("iio: %s has %d of the channels %v", cfg.Device, len(s.taken), cfg.Channels)
	}
	s.rate()
	return s, nil
}

// rate takes the nominal rate from the configuration or from the device.
func (s *Source) rate() {
	hz := s.cfg.RateHz
	if hz == 0 {
		if text, err := read(s.dir, "sampling_frequency"); err == nil {
			hz, _ = strconv.ParseFloat(text, 64) // of a device that says nothing, none is known
		}
	}
	if hz > 0 && hz <= 1e6 {
		s.group.RateMilliHz = uint64(hz*1000 + 0.5)
		s.periodNS = int64(1e9 / hz)
	}
	if s.cfg.Length == 0 {
		s.cfg.Length = max(minLength, int(hz/2))
	}
	if s.cfg.Watermark == 0 {
		s.cfg.Watermark = max(1, min(s.cfg.Length/2, int(hz/100)))
	}
}

// Groups returns the one group.
func (s *Source) Groups() []wire.Group { return []wire.Group{s.group} }

// Counters returns what was counted over all runs.
func (s *Source) Counters() []sensors.Counter {
	c := &s.count
	return []sensors.Counter{
		{Name: "opens", Help: "times that the buffer was begun", Value: c.opens.Load()},
		{Name: "bytes", Help: "bytes read", Value: c.bytes.Load()},
		{Name: "samples", Help: "samples read", Value: c.samples.Load()},
		{Name: "samples_lost", Help: "samples that the buffer had no room for, by their time stamps; without stamps about so many, by the time that passed", Value: c.lost.Load()},
		{Name: "gaps", Help: "places where they were lost", Value: c.gaps.Load()},
		{Name: "stamps_driver", Help: "samples with the driver's time", Value: c.stamps.Load()},
		{Name: "stamps_host", Help: "samples with the time of their arrival", Value: c.unsynced.Load()},
	}
}

// set writes an attribute.
func (s *Source) set(name, value string) error {
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_WRONLY|os.O_TRUNC, 0)
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("iio: set %s to %s: %w", name, value, err)
	}
	return nil
}

// begin sets the buffer up.
func (s *Source) begin() error {
	// A buffer that runs takes no settings; one that another program left.
	if err := s.set("buffer/enable", "0"); err != nil {
		return err
	}
	for _, e := range s.all {
		on := "0"
		if e.name == timestamp || slices.ContainsFunc(s.taken, func(t element) bool { return t.name == e.name }) {
			on = "1"
		}
		if err := s.set("scan_elements/"+e.name+"_en", on); err != nil {
			return err
		}
	}
	if s.stamp != nil {
		if err := s.set("current_timestamp_clock", "boottime"); err != nil {
			s.log.Warn("driver cannot stamp in boot time, arrival is taken", "device", s.cfg.Device, "error", err)
		}
	}
	if s.cfg.RateHz > 0 {
		if err := s.set("sampling_frequency", strconv.FormatFloat(s.cfg.RateHz, 'f', -1, 64)); err != nil {
			return err
		}
	}
	if s.cfg.Trigger != "" {
		if err := s.set("trigger/current_trigger", s.cfg.Trigger); err != nil {
			return err
		}
	}
	if err := s.set("buffer/length", strconv.Itoa(s.cfg.Length)); err != nil {
		return err
	}
	if err := s.set("buffer/watermark", strconv.Itoa(s.cfg.Watermark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("watermark not set, there will be more wake-ups", "device", s.cfg.Device, "error", err)
	}
	return s.set("buffer/enable", "1")
}

// Run captures until ctx ends. It fails when the device cannot be set up or is
// gone.
func (s *Source) Run(ctx context.Context, out sensors.Sink) (err error) {
	if err := s.begin(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.set("buffer/enable", "0")) }()
	f, err := os.OpenFile(filepath.Join(s.cfg.Dev, filepath.Base(s.dir)), os.O_RDONLY|nonblock, 0)
	if err != nil {
		return fmt.Errorf("iio: open buffer: %w: may this user read it?", err)
	}
	defer f.Close()
	s.count.opens.Add(1)
	r := s.newRun(out)
	buf := make([]byte, max(1, readBytes/s.size)*s.size)
	kept := 0 // bytes of a sample that came in parts
	for ctx.Err() == nil {
		if err := f.SetReadDeadline(time.Now().Add(readWait)); err != nil {
			return fmt.Errorf("iio: read %s: %w", s.cfg.Device, err)
		}
		n, err := f.Read(buf[kept:])
		kept += n
		s.count.bytes.Add(uint64(n))
		whole := kept / s.size * s.size
		if whole > 0 {
			if err := r.take(buf[:whole], s.cfg.Clock.BootNS()); err != nil {
				return err
			}
			kept = copy(buf, buf[whole:kept])
		}
		switch {
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, io.EOF):
			return fmt.Errorf("iio: device %s has ended", s.cfg.Device)
		default:
			return fmt.Errorf("iio: read %s: %w", s.cfg.Device, err)
		}
	}
	return ctx.Err()
}

// run is the state of one Run.
type run struct {
	*Source
	out    sensors.Sink
	ticks  []int64
	values []int64
	last   int64   // tick of the latest row; 0: none
	tally  elapsed // of a device without stamps
}

func (s *Source) newRun(out sensors.Sink) *run {
	return &run{Source: s, out: out, tally: elapsed{periodNS: float64(s.periodNS), bufferNS: int64(s.cfg.Length) * s.periodNS}}
}

// take hands on whole samples that came at now.
func (r *run) take(b []byte, now int64) error {
	n := len(b) / r.size
	r.ticks, r.values = r.ticks[:0], r.values[:0]
	var lost, gaps uint64
	for i := range n {
		sample := b[i*r.size : (i+1)*r.size]
		tick := now - int64(n-1-i)*r.periodNS
		if r.stamp != nil {
			if t := r.stamp.word(sample); t <= now && now-t < maxDelayNS {
				tick = t
				r.count.stamps.Add(1)
				if d := t - r.last; r.last != 0 && r.periodNS > 0 && d > r.periodNS*3/2 {
					lost += uint64(math.Round(float64(d)/float64(r.periodNS))) - 1
					gaps++
				}
			} else {
				r.count.unsynced.Add(1)
			}
		}
		r.last = max(r.last, tick)
		r.ticks = append(r.ticks, r.last)
		for k := range r.taken {
			r.values = append(r.values, r.taken[k].word(sample))
		}
	}
	if r.stamp == nil && r.periodNS > 0 {
		if lost = r.tally.add(n, now); lost > 0 {
			gaps = 1
		}
	}
	r.count.samples.Add(uint64(n))
	if err := r.out.Append(sensors.Rows{Ticks: r.ticks, Values: r.values}); err != nil {
		return err
	}
	if lost > 0 {
		r.count.lost.Add(lost)
		r.count.gaps.Add(gaps)
		return r.out.Event(wire.Event{BootNS: r.last, Name: "iio_lost", Detail: fmt.Sprintf("%s: %d samples in %d gaps", r.group.Name, lost, gaps)})
	}
	return nil
}
