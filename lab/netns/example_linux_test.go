package netns_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"time"

	"telemetry/lab/link"
	"telemetry/lab/netns"
)

// A harness runs a program of the car behind two links and lets things happen to
// them. What the program is to reach listens on every address of this process's
// own namespace, or on bed.FarAddr.
func ExampleNew() {
	run := func(ctx context.Context) error {
		fast := link.Spec{BitRate: 10e6, Delay: 20 * time.Millisecond, Loss: 0.001}
		slow := link.Spec{BitRate: 4e6, Delay: 45 * time.Millisecond, Jitter: 5 * time.Millisecond}
		bed, err := netns.New(netns.Config{
			Links: []netns.Link{
				{Device: "wwan0", Up: fast, Down: link.Spec{Delay: fast.Delay}},
				{Device: "wwan1", Up: slow, Down: link.Spec{Delay: slow.Delay}},
			},
			Seed: 1,
		})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		carried := make(chan error, 1)
		go func() { carried <- bed.Run(ctx) }()

		car := exec.Command("edgeagent", "-config", "car.yaml", "-receiver", bed.FarAddr().String())
		err = errors.Join(bed.Car.Start(car), bed.Paths()[0].Set(link.Silent))
		if err == nil {
			_, err = bed.Paths()[0].Readdress(netip.Addr{})
		}
		err = errors.Join(err, bed.Paths()[0].Set(link.Up), car.Wait())

		if worst, bad := bed.Disturbed(); bad {
			err = errors.Join(err, fmt.Errorf("disturbed by %v: run it again", worst))
		}
		cancel()
		return errors.Join(err, <-carried, bed.Close())
	}
	if err := run(context.Background()); err != nil {
		fmt.Println(err)
	}
}
