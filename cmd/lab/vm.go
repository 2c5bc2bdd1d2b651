package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"telemetry/lab/vm"
)

// errStatus is a program that ended with a status other than 0 in its machine.
var errStatus = errors.New("exit status")

func vmCommand() *cobra.Command {
	var cfg vm.Config
	var quiet bool
	c := &cobra.Command{
		Use:   "vm [flags] -- PROGRAM [ARG]…",
		Short: "Run a static program in a machine whose kernel has CAN (vcan, vxcan, SLCAN)",
		Example: `  lab vm --image "$(scripts/vm-image.sh)" --share . -- ./can.test -test.v
  lab vm --image "$(scripts/vm-image.sh)" --share . -- /bin/busybox ip link`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg.Stdout, cfg.Stderr = c.OutOrStdout(), c.ErrOrStderr()
			if !quiet {
				cfg.Progress = c.ErrOrStderr()
			}
			if cfg.Dir == "" {
				cfg.Dir, _ = os.Getwd()
			}
			if strings.Contains(args[0], "/") && !filepath.IsAbs(args[0]) {
				abs, err := filepath.Abs(args[0])
				if err != nil {
					return fmt.Errorf("lab: program: %w", err)
				}
				args[0] = abs
			}
			cfg.Command = args
			code, err := vm.Run(c.Context(), cfg)
			if err == nil && code != 0 {
				err = fmt.Errorf("lab: %s: %w %d", filepath.Base(args[0]), errStatus, code)
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Image, "image", "", "folder of kernel and initrd, as scripts/vm-image.sh prints it")
	f.StringVar(&cfg.Share, "share", ".", "folder that the guest sees, read-only, at the same path")
	f.StringVar(&cfg.Dir, "dir", "", "where the program starts (default the current folder)")
	f.StringArrayVar(&cfg.Env, "env", nil, "NAME=value for the program")
	f.DurationVar(&cfg.Timeout, "timeout", vm.DefaultTimeout, "end the machine after this time")
	f.IntVar(&cfg.MemoryMB, "memory", vm.DefaultMemoryMB, "of the machine, in MiB")
	f.IntVar(&cfg.CPUs, "cpus", 1, "of the machine")
	f.StringVar(&cfg.Accel, "accel", "", "of QEMU (default tcg: emulated)")
	f.BoolVar(&quiet, "quiet", false, "say nothing but what the program says")
	return c
}
