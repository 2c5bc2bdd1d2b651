package receivercmd

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/internal/config"
	"telemetry/receiver/live/guard"
)

func pageCommand() *cobra.Command {
	c := &cobra.Command{Use: "page", Short: "The page for people"}
	c.AddCommand(tokenCommand())
	return c
}

// tokenFlags say which file of tokens a command means.
type tokenFlags struct{ config, file string }

func (f *tokenFlags) path() (string, error) {
	if f.file != "" {
		return f.file, nil
	}
	cfg, err := config.ReadReceiver(f.config)
	if err != nil {
		return "", err
	}
	if cfg.Live.Login.Tokens == "" {
		return "", cli.Usage(errors.New("live.login.tokens is not set in the configuration: set it, or name the file with --file"))
	}
	return cfg.Live.Login.Tokens, nil
}

func tokenCommand() *cobra.Command {
	var f tokenFlags
	c := &cobra.Command{Use: "token", Short: "Who may log in to the page; a running receiver follows within seconds"}
	c.PersistentFlags().StringVarP(&f.config, "config", "c", defaultConfig, "configuration, whose live.login.tokens is the file")
	c.PersistentFlags().StringVar(&f.file, "file", "", "file of tokens, instead of a configuration")
	c.AddCommand(tokenAddCommand(&f), tokenListCommand(&f), tokenRevokeCommand(&f))
	return c
}

func tokenAddCommand(f *tokenFlags) *cobra.Command {
	var role string
	var days int
	c := &cobra.Command{
		Use:     "add NAME --role viewer|engineer|admin",
		Short:   "Make a token and print it, this once",
		Example: "  receiver page token add anna --role engineer\n  receiver page token add prometheus --role viewer --days 0 --file /etc/receiver/tokens/tokens",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := guard.ParseRole(role)
			if err != nil {
				return cli.Usage(fmt.Errorf("--role: %w", err))
			}
			if days < 0 || days > 36500 {
				return cli.Usage(fmt.Errorf("--days is %d (want 1 or more, or 0 for ever)", days))
			}
			path, err := f.path()
			if err != nil {
				return err
			}
			secret, e, err := guard.AddToken(path, args[0], r, time.Duration(days)*24*time.Hour)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "token of %s, %s, %s; only its hash is in %s: keep it now, nobody can show it again\n", e.Name, e.Role, until(&e), path)
			_, err = fmt.Fprintln(c.OutOrStdout(), secret)
			return err
		},
	}
	c.Flags().StringVar(&role, "role", "", "viewer watches cars, engineer also reads the past, exports and replays, admin also sees the process")
	c.Flags().IntVar(&days, "days", 365, "how long it is valid; 0: for ever")
	return c
}

func until(e *guard.Entry) string {
	if e.Expires == nil {
		return "without an end"
	}
	return "until " + e.Expires.Format(time.DateOnly)
}

func tokenListCommand(f *tokenFlags) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "The tokens that there are, without their secrets",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			path, err := f.path()
			if err != nil {
				return err
			}
			es, err := guard.ReadTokens(path)
			if err != nil {
				return err
			}
			type row struct {
				Name    string     `json:"name"`
				Role    guard.Role `json:"role"`
				State   string     `json:"state"`
				Created time.Time  `json:"created"`
				Expires *time.Time `json:"expires,omitempty"`
			}
			rows := []row{}
			for i := range es {
				state := "valid"
				if es[i].Expired(time.Now()) {
					state = "expired"
				}
				rows = append(rows, row{es[i].Name, es[i].Role, state, es[i].Created, es[i].Expires})
			}
			if asJSON {
				return cli.WriteJSON(c.OutOrStdout(), rows)
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tROLE\tSTATE\tCREATED\tVALID")
			for i, r := range rows {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.Role, r.State, r.Created.Format(time.DateOnly), until(&es[i]))
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func tokenRevokeCommand(f *tokenFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME",
		Short: "Take a token back: who logged in with it is out within seconds",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := f.path()
			if err != nil {
				return err
			}
			if err := guard.RevokeToken(path, args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "revoked: %s; receivers that do not read %s need its new copy\n", args[0], path)
			return err
		},
	}
}
