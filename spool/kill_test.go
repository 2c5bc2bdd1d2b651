package spool_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"telemetry/spool"
	"telemetry/wire"
)

// The child writes under load on the real disk and tells its parent over a pipe
// what became durable; the parent kills it at a random moment.

const childEnv = "SPOOL_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir, os.Stdout); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// ack is one line of the child: these numbers of a lane are durable.
type ack struct {
	Epoch       wire.Epoch
	Lane        wire.Lane
	First, Last uint64
}

func realConfig(dir string) spool.Config {
	return spool.Config{
		Dir: dir, Car: "car-7", Clock: bootClock{time.Now()},
		ChunkBytes: 256 << 10, CommitBytes: 64 << 10, QuotaBytes: 64 << 20, WarmEntries: 100,
		CommitInterval: 5 * time.Millisecond, CriticalInterval: 2 * time.Millisecond,
	}
}

// child appends until it is killed. Payloads follow from the identity, so that the
// parent knows them.
func child(dir string, out io.Writer) error {
	sp, _, err := spool.Open(realConfig(dir))
	if err != nil {
		return err
	}
	go sp.Run(context.Background()) // ends with the process
	enc := json.NewEncoder(out)
	next := map[wire.Lane]uint64{wire.LaneFull: 1, wire.LaneCritical: 1}
	for round := uint64(0); ; round++ {
		var acks []ack
		for _, lane := range []wire.Lane{wire.LaneFull, wire.LaneCritical} {
			a := ack{Epoch: sp.Epoch(), Lane: lane}
			for i := range 8 {
				n := 100
				if lane == wire.LaneFull {
					n = 1000 + int(round*8+uint64(i))%14000
				}
				next[lane]++
				id, err := sp.Append(wire.Body{Lane: lane, LastNS: 1, Samples: 1, Payload: childPayload(sp.Epoch(), lane, next[lane], n)})
				if err != nil {
					return err
				}
				if a.First == 0 {
					a.First = id.Seq
				}
				a.Last = id.Seq
			}
			acks = append(acks, a)
		}
		if err := sp.Sync(context.Background()); err != nil {
			return err
		}
		for _, a := range acks {
			if err := enc.Encode(a); err != nil {
				return err
			}
		}
		for _, it := range all(sp, wire.LaneFull)[:4] { // and the cloud takes some
			if _, err := sp.Read(it.ID, nil); err != nil && !errors.Is(err, spool.ErrGone) {
				return err
			}
		}
	}
}

func childPayload(e wire.Epoch, lane wire.Lane, n uint64, size int) []byte {
	return noise(e.Nonce^n^uint64(lane)<<60, size)
}

func TestKillNine(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 3
	}
	dir := filepath.Join(t.TempDir(), "spool")
	rnd := rand.New(rand.NewPCG(42, 42))
	acked, total := map[wire.ID]bool{}, 0
	for k := range kills {
		for _, a := range runChild(t, dir, 5+rnd.IntN(60)) {
			for seq := a.First; seq <= a.Last; seq++ {
				acked[wire.ID{Stream: wire.Stream{Car: "car-7", Epoch: a.Epoch, Lane: a.Lane}, Seq: seq}] = true
			}
		}
		sp, rep, err := spool.Open(realConfig(dir))
		if err != nil {
			t.Fatalf("kill %d: %v", k, err)
		}
		if rep.LostBatches != 0 {
			t.Errorf("kill %d: %+v", k, rep)
		}
		total += len(acked)
		checkKilled(t, k, sp, acked)
		if err := sp.Close(); err != nil {
			t.Fatalf("kill %d: close: %v", k, err)
		}
	}
	t.Logf("%d kills, %d batches acknowledged", kills, total)
}

// checkKilled reads back everything, and settles it so that the next round is
// short.
func checkKilled(t *testing.T, k int, sp *spool.Spool, acked map[wire.ID]bool) {
	t.Helper()
	for _, lane := range []wire.Lane{wire.LaneCritical, wire.LaneFull} {
		for _, it := range all(sp, lane) {
			if _, err := sp.Read(it.ID, nil); err != nil {
				t.Fatalf("kill %d: read %s: %v", k, it.ID, err)
			}
			delete(acked, it.ID)
			sp.Settle(it.ID.Stream, wire.Ranges{{First: it.ID.Seq, Last: it.ID.Seq}})
		}
	}
	if len(acked) > 0 {
		t.Fatalf("kill %d: %d acknowledged batches are lost: %v", k, len(acked), slices.Collect(maps.Keys(acked)))
	}
}

// runChild starts a child, kills it after some lines and returns what it told.
func runChild(t *testing.T, dir string, lines int) (acks []ack) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(out)
	for n := 0; in.Scan(); n++ {
		var a ack
		if json.Unmarshal(in.Bytes(), &a) != nil {
			break // the line that the kill cut
		}
		acks = append(acks, a)
		if n == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if len(acks) == 0 {
		t.Fatal("the child never acknowledged anything")
	}
	return acks
}

func TestTwoProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	sp, _, err := spool.Open(realConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("a second process opened the spool: %s", out)
	}
	if _, _, err := spool.Open(realConfig(dir)); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("second open: %v", err)
	} else {
		t.Log(err)
	}
	if err := sp.Close(); err != nil {
		t.Fatal(err)
	}
	sp, _, err = spool.Open(realConfig(dir))
	if err != nil {
		t.Fatalf("open after close: %v", err)
	}
	sp.Close()
}
