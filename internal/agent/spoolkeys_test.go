package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/spool"
	"telemetry/spool/atrest"
	"telemetry/wire"
)

// readable counts the encrypted batches on the card that an identity opens, and the others.
func readable(t *testing.T, dir, identity string) (opened, locked int) {
	t.Helper()
	keys, err := atrest.Load(identity, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := spool.OpenView(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	v.Use(keys)
	if err := v.Each(wire.LaneFull, func(wire.Batch) error { opened++; return nil }); err != nil {
		t.Fatal(err)
	}
	return opened, v.Locked
}

// TestACarWithoutItsIdentityRecordsAndSends: the identity file is missing, empty, torn or
// cannot be read. The car starts, encrypts, sends what is new and says what is wrong; what
// it could not send is for the recipients.
func TestACarWithoutItsIdentityRecordsAndSends(t *testing.T) {
	for _, tc := range []struct {
		name  string
		make  func(file string) error
		links int
		pit   bool // is a recipient
	}{
		{"missing, with a link", func(string) error { return nil }, 1, true},
		{"missing, with a link and no recipients", func(string) error { return nil }, 1, false},
		{"missing, without a link", func(string) error { return nil }, 0, true},
		{"empty", func(f string) error { return os.WriteFile(f, nil, 0o600) }, 0, true},
		{"torn", func(f string) error { return os.WriteFile(f, []byte("AGE-SECRET-KEY-1G3"), 0o600) }, 0, true},
		{"a directory that nothing is mounted on", func(f string) error { return os.Mkdir(f, 0o755) }, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder := t.TempDir()
			pit := filepath.Join(folder, "pit.key")
			recipient, err := atrest.Generate(pit)
			if err != nil {
				t.Fatal(err)
			}
			identity := filepath.Join(folder, "box.key")
			if err := tc.make(identity); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				grp := group("g", 3)
				want := map[point]int{}
				src := &script{groups: []wire.Group{grp}, runs: []func(context.Context, sensors.Sink) error{feed(grp, 1, 100, want)}}
				c := newCar(t, tc.links, func(cfg *config.Agent) {
					cfg.Spool.Encrypt = &config.Encrypt{Identity: identity}
					if tc.pit {
						cfg.Spool.Encrypt.Recipients = []string{recipient}
					}
				}, namedSource{name: "s", source: src})
				c.start(t)
				time.Sleep(10 * time.Second) // virtual: the source has ended
				if st := c.Status().Spool; !st.Encrypted || !strings.Contains(st.KeyFault, "atrest: identity") || st.Locked != 0 {
					t.Errorf("status %+v", st)
				}
				if tc.links > 0 {
					if err := c.Drain(t.Context()); err != nil {
						t.Fatal(err)
					}
					got := c.cloud.read(t, &c.plan.catalogue)
					got.checkFull(t, c.own(), want)
				}
				if err := c.end(); err != nil {
					t.Fatal(err)
				}
				if tc.links > 0 {
					return
				}
				if opened, locked := readable(t, c.dir, pit); opened == 0 || locked != 0 {
					t.Errorf("the recipient opens %d batches, %d are locked", opened, locked)
				}
			})
		})
	}
}

// TestWrongRecipientsAreRefused: with an identity or without, a recipient that is none is
// an error of the configuration, which no medium that is mounted later mends.
func TestWrongRecipientsAreRefused(t *testing.T) {
	c := newCar(t, 0, func(cfg *config.Agent) {
		cfg.Spool.Encrypt = &config.Encrypt{Identity: filepath.Join(t.TempDir(), "none"), Recipients: []string{"age1nonsense"}}
	})
	if err := c.Run(t.Context()); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("run: %v", err)
	}
}
