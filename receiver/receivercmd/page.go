package receivercmd

import (
	"errors"
	"fmt"
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
			fmt.Fprintf(c.ErrOrStderr(), "token of %s, %s, %s; only its hash is in %s: keep it now, nobody can show it again\n", e.Name, e.Role, until(e.Expires), path)
			_, err = fmt.Fprintln(c.OutOrStdout(), secret)
			return err
		},
	}
	c.Flags().StringVar(&role, "role", "", "viewer watches cars, engineer also reads the past, exports and replays, admin also sees the process")
	c.Flags().IntVar(&days, "days", 365, "how long it is valid; 0: for ever")
	return c
}

func until(expires *time.Time) string {
	if expires == nil {
		return "without an end"
	}
	return "until " + expires.Format(time.DateOnly)
}

func tokenListCommand(f *tokenFlags) *cobra.Command {
	type row struct {
		Name    string     `json:"name"`
		Role    guard.Role `json:"role"`
		State   string     `json:"state"`
		Created time.Time  `json:"created"`
		Expires *time.Time `json:"expires,omitempty"`
	}
	rows := func() ([]row, error) {
		path, err := f.path()
		if err != nil {
			return nil, err
		}
		es, err := guard.ReadTokens(path)
		if err != nil {
			return nil, err
		}
		out := []row{}
		for i := range es {
			state := "valid"
			if es[i].Expired(time.Now()) {
				state = "expired"
			}
			out = append(out, row{es[i].Name, es[i].Role, state, es[i].Created, es[i].Expires})
		}
		return out, nil
	}
	return listCommand("The tokens that there are, without their secrets", "NAME\tROLE\tSTATE\tCREATED\tVALID", rows, func(r *row) []string {
		return []string{r.Name, r.Role.String(), r.State, r.Created.Format(time.DateOnly), until(r.Expires)}
	})
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
