package spoolcmd_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"telemetry/spool"
	"telemetry/spool/atrest"
	"telemetry/wire"
)

// TestEncryptedSpool: what stands in a spool that another box has encrypted is read with
// an identity of the box or of the pit, and by nobody else; without one the other verbs
// work, and say what they left out.
func TestEncryptedSpool(t *testing.T) {
	folder := t.TempDir()
	car, pit, stranger := filepath.Join(folder, "car.key"), filepath.Join(folder, "pit.key"), filepath.Join(folder, "stranger.key")
	must(t, "keygen", car)
	recipient := strings.TrimSpace(must(t, "keygen", pit))
	must(t, "keygen", stranger)
	if _, err := edgeagent(t, "keygen", pit); !errors.Is(err, os.ErrExist) {
		t.Errorf("keygen over an identity: %v", err)
	}
	keys, err := atrest.Load(car, []string{recipient})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(folder, "spool")
	sp, _, err := spool.Open(spool.Config{Dir: dir, Car: "car-7", Clock: still{}, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	event := wire.AppendEvent(nil, &wire.Event{BootNS: 1, Name: "overtake"})
	if _, err := sp.Append(wire.Body{Lane: wire.LaneCritical, Samples: 1, Payload: event}); err != nil {
		t.Fatal(err)
	}
	if err := sp.Close(); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{car, pit} {
		if out := must(t, "cat", "--identity", key, dir); strings.Count(out, "\n") != 2 {
			t.Errorf("%s: cat prints %q", filepath.Base(key), out)
		}
		if out := must(t, "verify", "--identity", key, dir); !strings.Contains(out, " 0 faults") || strings.Contains(out, "encrypted") {
			t.Errorf("%s: verify prints %q", filepath.Base(key), out)
		}
	}
	for _, args := range [][]string{{dir}, {"--identity", stranger, dir}} {
		out, err := edgeagent(t, append([]string{"cat"}, args...)...)
		if !errors.Is(err, spool.ErrNoKey) || !strings.Contains(err.Error(), "1 batches are encrypted") || strings.Count(out, "\n") != 1 {
			t.Errorf("cat %v: %q, %v", args[:len(args)-1], out, err)
		}
		if _, err := edgeagent(t, append([]string{"export"}, args...)...); !errors.Is(err, spool.ErrNoKey) {
			t.Errorf("export %v: %v", args[:len(args)-1], err)
		}
		if out := must(t, append([]string{"verify"}, args...)...); !strings.Contains(out, "1 of them are encrypted") {
			t.Errorf("verify %v: %q", args[:len(args)-1], out)
		}
	}
	must(t, "repair", dir)
	must(t, "prune", dir)
	if out := must(t, "cat", "--identity", pit, dir); strings.Count(out, "\n") != 2 {
		t.Errorf("after repair and prune cat prints %q", out)
	}
	if _, err := edgeagent(t, "cat", "--identity", filepath.Join(folder, "none"), dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an identity that is not there: %v", err)
	}
}

// TestConfiguredIdentityThatCannotBeRead: who may read the card but not the configured
// identity still lists and verifies; what needs keys says what is missing.
func TestConfiguredIdentityThatCannotBeRead(t *testing.T) {
	m := makeSpool(t)
	if err := m.sp.Close(); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	conf := filepath.Join(folder, "agent.yaml")
	text := "version: 1\ncar: car-7\nspool: {dir: " + m.Dir + ", encrypt: {identity: box.key}}\nsources: [{name: s, sim: {channels: 1, rate: 10Hz}}]\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"ls", "verify"} {
		if out := must(t, verb, "--config", conf); !strings.Contains(out, "without the configured identity") {
			t.Errorf("%s: %q", verb, out)
		}
		if _, err := edgeagent(t, verb, "--identity", filepath.Join(folder, "none"), "--config", conf); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s with an identity that was asked for: %v", verb, err)
		}
	}
	for _, verb := range []string{"cat", "export"} {
		if _, err := edgeagent(t, verb, "--config", conf); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

// TestExportsOfEncryptedSpoolsAreForTheirOwner: what was encrypted on the card is not for
// every user of the machine that reads it.
func TestExportsOfEncryptedSpoolsAreForTheirOwner(t *testing.T) {
	m := makeSpool(t)
	if err := m.sp.Close(); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	key := filepath.Join(folder, "car.key")
	must(t, "keygen", key)
	for name, args := range map[string][]string{"clear": nil, "opened": {"--identity", key}} {
		to := filepath.Join(folder, name)
		must(t, append([]string{"export", "-o", to, m.Dir}, args...)...)
		st, err := os.Stat(to)
		if err != nil {
			t.Fatal(err)
		}
		if others := st.Mode().Perm()&0o077 != 0; others && args != nil {
			t.Errorf("%s: %v", name, st.Mode())
		}
	}
}
