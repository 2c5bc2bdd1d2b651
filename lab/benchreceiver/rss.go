package benchreceiver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"telemetry/internal/clock"
	"telemetry/lab/instance"
	"telemetry/lab/simcar"
	"telemetry/wire"
)

const (
	rssFor  = 60 * time.Second
	rssCars = 20
)

// rss measures the memory of one receiver with everything embedded, at 20 cars of
// 200 kbit/s with somebody at the page: the most that was resident.
func (b *bench) rss(ctx context.Context) error {
	r := instance.New(instance.Config{Bin: b.Bin, Dir: b.Dir, Name: "embedded", YAML: fmt.Sprintf(`mqtt:
  listen: 127.0.0.1:0
  insecure: true
live:
  listen: 127.0.0.1:0
kafka:
  embedded:
    dir: %q
    port: 0
`, filepath.Join(b.Dir, "embedded-kafka"))})
	if err := r.Start(); err != nil {
		return err
	}
	st, err := r.Ready(ctx)
	if err != nil {
		return errors.Join(err, r.Stop())
	}
	run, stop := context.WithTimeout(ctx, rssFor)
	defer stop()
	g, gctx := errgroup.WithContext(run)
	var cars []*simcar.Car
	for i := range rssCars {
		c, err := simcar.Open(simcar.Config{Name: fmt.Sprintf("rss-%02d", i), Dir: filepath.Join(b.Dir, fmt.Sprintf("spool-rss-%d", i)), Links: 3})
		if err == nil {
			cars = append(cars, c)
			err = c.Connect([]string{"tcp://" + st.Listen.MQTT})
		}
		if err != nil {
			stop()
			return errors.Join(err, g.Wait(), r.Stop())
		}
		g.Go(func() error { return c.Drive(gctx, uint64(i), func(wire.ID, int64, []byte) error { return nil }) }) // ends with run
	}
	g.Go(func() error { // somebody at the page
		body, err := get(gctx, "http://"+st.Listen.Live+"/api/v1/events?car=rss-00&channels=0,1,2,3")
		if err != nil {
			return nil // it is over
		}
		defer body.Close()
		for lines := bufio.NewScanner(body); lines.Scan(); {
		}
		return nil
	})
	most := 0.0
	g.Go(func() error {
		for gctx.Err() == nil {
			mb, err := resident(r.PID())
			if err != nil {
				return err
			}
			most = max(most, mb)
			_ = clock.Sleep(gctx, 200*time.Millisecond) // its end is looked at above
		}
		return nil
	})
	err = g.Wait()
	for _, c := range cars {
		err = errors.Join(err, c.Drain(ctx), c.Close())
	}
	if err = errors.Join(err, r.Stop()); err != nil {
		return err
	}
	return b.alone("rss_mb", most)
}

// resident returns a process's resident memory in MB.
func resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 64)
			return kb * 1024 / 1e6, err
		}
	}
	return 0, errors.New("no VmRSS")
}
