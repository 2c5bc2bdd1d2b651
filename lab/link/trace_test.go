package link

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReadTraceRefusesBadLines(t *testing.T) {
	tests := []struct {
		name, text string
		line       int
		why        string
	}{
		{"empty", "", 1, "empty"},
		{"word", "0\n1\nfast\n", 3, `"fast" is no whole number`},
		{"negative", "-1\n", 1, "whole number"},
		{"fraction", "0\n1.5\n", 2, "whole number"},
		{"back", "5\n7\n6\n", 3, "6 ms after 7 ms"},
		{"blank line", "5\n\n6\n", 2, "whole number"},
		{"too long", "1\n" + strings.Repeat("1", 40) + "\n", 2, "longer than"},
		{"too far", "1\n4294967300\n", 2, "from the first"},
		{"beyond numbers", "99999999999999\n999999999999999\n", 2, "from the first"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadTrace(strings.NewReader(tt.text))
			var bad *TraceError
			if !errors.As(err, &bad) || bad.Line != tt.line || !strings.Contains(bad.Why, tt.why) {
				t.Errorf("got %v, want line %d: %s", err, tt.line, tt.why)
			}
		})
	}
}

func TestLoadTrace(t *testing.T) {
	const text = "100\n100\r\n149" // a Windows line, no newline at the end
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"plain": []byte(text), "packed": z.Bytes()} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "trace") // packed or not does not depend on the name
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			tr, err := LoadTrace(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := tr.Period(); got != 50*time.Millisecond {
				t.Errorf("period %v, want 50 ms", got)
			}
			if got := tr.BitRate(); got != 3*12000/0.05 {
				t.Errorf("rate %v", got)
			}
			if got := string(tr.Append(nil)); got != "0\n0\n49\n" {
				t.Errorf("written as %q", got)
			}
		})
	}
	t.Run("torn", func(t *testing.T) {
		if _, err := ReadTrace(bytes.NewReader(z.Bytes()[:z.Len()-6])); err == nil {
			t.Error("a torn gzip file was taken")
		}
	})
	t.Run("missing", func(t *testing.T) {
		if _, err := LoadTrace(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
}

// TestRecordedTraces reads the recorded drives if they are beside the tree.
func TestRecordedTraces(t *testing.T) {
	for name, mbit := range map[string]float64{"TMobile-LTE-driving": 19.30, "Verizon-LTE-driving": 6.24, "ATT-LTE-driving": 0.83} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("..", "..", "..", "shared", "traces", name+".up.gz")
			if _, err := os.Stat(path); err != nil {
				t.Skip("no recorded trace: ", err)
			}
			tr, err := LoadTrace(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := tr.BitRate() / 1e6; got < mbit-0.01 || got > mbit+0.01 {
				t.Errorf("mean %.3f Mbit/s, want %.2f", got, mbit)
			}
		})
	}
}

func FuzzReadTrace(f *testing.F) {
	for _, s := range []string{"0\n", "5\n5\n9\n", "1\n4294967295\n", "7\n6\n", "\n", "\x1f\x8b", "x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := ReadTrace(bytes.NewReader(b))
		if err != nil {
			if tr != nil {
				t.Fatal("a trace beside an error")
			}
			return
		}
		again, err := ReadTrace(bytes.NewReader(tr.Append(nil)))
		if err != nil || !bytes.Equal(again.Append(nil), tr.Append(nil)) {
			t.Fatalf("written and read again: %v", err)
		}
		n := int64(len(tr.ms))
		for _, k := range []int64{0, n - 1, n, 3*n - 1, 1000 * n} {
			at := tr.moment(k)
			if got := tr.slots(at); got <= k {
				t.Fatalf("slot %d at %d, but only %d slots until then", k, at, got)
			}
			if got := tr.slots(at - 1); got > k {
				t.Fatalf("slot %d at %d, but %d slots before it", k, at, got)
			}
		}
	})
}

func TestParseSpec(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, []byte("0\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ParseSpec("trace=" + path + ",from=90s,delay=40ms,jitter=1ms,wait=2s,loss=2%,queue=256K,packets=100")
	if err != nil || got.Trace == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	got.Trace = nil
	want := Spec{
		TraceFrom: 90 * time.Second, Delay: 40 * time.Millisecond, Jitter: time.Millisecond,
		MaxWait: 2 * time.Second, Loss: 0.02, Queue: 256 << 10, QueuePackets: 100,
	}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for text, rate := range map[string]int64{"": 0, "rate=12": 12, "rate=10M": 1e7, "rate=2.5k": 2500, "rate=1g": 1e9} {
		if s, err := ParseSpec(text); err != nil || s.BitRate != rate {
			t.Errorf("%q: rate %d, %v", text, s.BitRate, err)
		}
	}
	for _, text := range []string{
		"speed=1", "rate=fast", "rate=-1", "rate=1e300G", "delay=5", "loss=101%", "loss=nan", "delay=2h",
		"rate=1M,trace=" + path, "trace=" + path + ".none", "queue=-1", "rate",
	} {
		if s, err := ParseSpec(text); err == nil {
			t.Errorf("%q was taken: %+v", text, s)
		}
	}
}

func TestStateNames(t *testing.T) {
	for s := Up; s <= Drop; s++ {
		if got, err := ParseState(s.String()); got != s || err != nil {
			t.Errorf("%v reads as %v, %v", s, got, err)
		}
	}
	if _, err := ParseState("asleep"); err == nil {
		t.Error("an unknown state was taken")
	}
	if got := LostReaddress.String(); got != "readdress" {
		t.Errorf("got %q", got)
	}
}
