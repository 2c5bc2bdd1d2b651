package receivercmd

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/receiver/ca"
)

const defaultCA = "/etc/receiver/ca"

func caCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "ca", Short: "The team's own certificate authority: identities of cars and receivers"}
	c.PersistentFlags().StringVar(&dir, "dir", defaultCA, "folder of the authority")
	c.AddCommand(caInitCommand(&dir), caIssueCommand(&dir), caRevokeCommand(&dir), caListCommand(&dir))
	return c
}

func caInitCommand(dir *string) *cobra.Command {
	var name string
	var years int
	c := &cobra.Command{
		Use:   "init",
		Short: "Make an authority",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if years < 1 || years > 50 {
				return cli.Usage(fmt.Errorf("--years is %d (want 1 to 50)", years))
			}
			if _, err := ca.Init(*dir, name, time.Duration(years)*365*24*time.Hour); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "authority %q is in %s; keep %s secret and backed up\nnext: receiver ca issue receiver --host HOST, then receiver ca issue CAR for each car\n",
				name, *dir, filepath.Join(*dir, ca.KeyFile))
			return err
		},
	}
	c.Flags().StringVar(&name, "name", "telemetry CA", "name of the authority")
	c.Flags().IntVar(&years, "years", 10, "how long it is valid")
	return c
}

func caIssueCommand(dir *string) *cobra.Command {
	var hosts []string
	var days int
	var out string
	c := &cobra.Command{
		Use:     "issue NAME",
		Short:   "Give a car its identity, or with --host a receiver or broker",
		Example: "  receiver ca issue car-7 --out ./for-car-7\n  receiver ca issue receiver --host telemetry.example.org",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if days < 1 {
				return cli.Usage(fmt.Errorf("--days is %d (want 1 or more)", days))
			}
			a, err := ca.Open(*dir)
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Join(*dir, "issued")
			}
			i, err := a.Issue(ca.Request{Name: args[0], Hosts: hosts, Life: time.Duration(days) * 24 * time.Hour, Out: out})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s certificate for %s until %s: %s\n", i.Kind, i.Name, i.Until.Format(time.DateOnly), filepath.Join(out, i.Name+".crt"))
			return err
		},
	}
	c.Flags().StringSliceVar(&hosts, "host", nil, "name or address of a server; may be repeated")
	c.Flags().IntVar(&days, "days", 730, "how long it is valid")
	c.Flags().StringVar(&out, "out", "", "folder for certificate and key (default the authority's own)")
	return c
}

func caRevokeCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME|SERIAL",
		Short: "Take back the certificates of a name, or one by its serial number",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			a, err := ca.Open(*dir)
			if err != nil {
				return err
			}
			gone, err := a.Revoke(args[0])
			if err != nil {
				return err
			}
			for _, i := range gone {
				fmt.Fprintf(c.OutOrStdout(), "revoked: %s, serial %s\n", i.Name, i.Serial)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "receivers that do not read %s need its new copy (mqtt.tls.crl)\n", filepath.Join(*dir, ca.CRLFile))
			return err
		},
	}
}

func caListCommand(dir *string) *cobra.Command {
	type row struct {
		ca.Issued
		State string `json:"state"`
	}
	rows := func() ([]row, error) {
		a, err := ca.Open(*dir)
		if err != nil {
			return nil, err
		}
		out := []row{}
		for _, i := range a.List() {
			out = append(out, row{i, i.State(time.Now())})
		}
		return out, nil
	}
	return listCommand("What was issued, and its state", "NAME\tKIND\tSTATE\tUNTIL\tSERIAL", rows, func(r *row) []string {
		return []string{r.Name, r.Kind, r.State, r.Until.Format(time.DateOnly), r.Serial}
	})
}
