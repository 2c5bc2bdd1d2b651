package main

import (
	"github.com/spf13/cobra"

	"telemetry/lab/pagetest"
)

func pageCommand() *cobra.Command {
	var cfg pagetest.Config
	c := &cobra.Command{
		Use:   "page",
		Short: "The real page in a real browser on the real stack: one line of JSON per result",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Progress = c.ErrOrStderr()
			return pagetest.Run(c.Context(), cfg, c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Bin, "bin", "bin", "folder of edgeagent and receiver")
	f.StringVar(&cfg.Dir, "dir", ".cache/page", "folder for pictures and downloads; it is emptied first")
	f.StringVar(&cfg.Chromium, "chromium", "/usr/bin/chromium", "the browser")
	f.StringVar(&cfg.Axe, "axe", "", "axe.min.js of axe-core")
	f.StringVar(&cfg.Python, "python", "python3", "Python with the readers of files")
	f.StringVar(&cfg.Reader, "reader", "lab/pagetest/read.py", "the program that reads files")
	f.StringVar(&cfg.Pictures, "pictures", "", "only make the README's pictures, into this folder")
	f.StringSliceVar(&cfg.Only, "only", nil, "steps to take, as links,holes; default all")
	f.BoolVar(&cfg.Keep, "keep", false, "keep the stack's folder with its logs")
	return c
}
