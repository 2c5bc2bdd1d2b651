package gnss_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	sensorlab "telemetry/lab/sensors"
	"telemetry/sensors/nmea"
)

var sentence = regexp.MustCompile(`\$[^\r\n$*]*\*[0-9A-F]{2}`)

// TestDamagedDrivesAgainstGPSD damages recorded drives as lines and receivers do, and
// compares what is left with gpsd's decoding of the same bytes.
func TestDamagedDrivesAgainstGPSD(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	spread := func(b []byte, every int, spoil func(rest []byte) (out []byte, skip int)) []byte {
		var out []byte
		for len(b) > 0 {
			n := min(len(b), every/2+rnd.IntN(every))
			out, b = append(out, b[:n]...), b[n:]
			more, skip := spoil(b)
			out, b = append(out, more...), b[min(len(b), skip):]
		}
		return out
	}
	talker := func(t string) func(b []byte) []byte {
		return func(b []byte) []byte {
			return sentence.ReplaceAllFunc(b, func(s []byte) []byte {
				if s[1] != 'G' {
					return s
				}
				body := append([]byte(t), s[3:len(s)-3]...)
				return bytes.TrimRight(nmea.Append(nil, body), "\r\n")
			})
		}
	}
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		deaf   bool // gpsd wants line ends
	}{
		{"cut", func(b []byte) []byte {
			return spread(b, 3000, func([]byte) ([]byte, int) { return nil, 1 + rnd.IntN(60) })
		}, false},
		{"garbage", func(b []byte) []byte {
			return spread(b, 2000, func([]byte) ([]byte, int) {
				noise := make([]byte, 1+rnd.IntN(40))
				for i := range noise {
					noise[i] = byte(rnd.Uint32())
				}
				return noise, 0
			})
		}, false},
		{"flipped bits", func(b []byte) []byte {
			return spread(b, 1500, func(rest []byte) ([]byte, int) {
				if len(rest) == 0 {
					return nil, 0
				}
				return []byte{rest[0] ^ 1<<rnd.IntN(8)}, 1
			})
		}, false},
		{"LF alone", func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }, false},
		{"no line ends", func(b []byte) []byte { return bytes.Join(sentence.FindAll(b, -1), nil) }, true},
		{"GN", talker("GN"), false},
		{"GA", talker("GA"), false},
		{"BD", talker("BD"), false},
		{"GL", talker("GL"), false},
	} {
		for name, least := range map[string]int{"gps_drive_switzerland.nmea.gz": 1500, "gps_l76k_5hz.nmea.gz": 100} {
			whole := readDrive(t, name)
			file := filepath.Join(t.TempDir(), "drive.nmea")
			if err := os.WriteFile(file, c.change(whole), 0o600); err != nil {
				t.Fatal(err)
			}
			a, err := sensorlab.CompareGPSD(t.Context(), file)
			if errors.Is(err, sensorlab.ErrNoGPSD) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			// gpsd takes a sentence that has lost the mark of its checksum.
			if a.Differing != 0 || a.Missing > a.Foreign/500 || a.Fixes < least || !c.deaf && a.Equal < least {
				t.Errorf("%s, %s: %+v", c.name, name, a)
			}
		}
	}
}

// readDrive returns the begin of a recorded drive.
func readDrive(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "..", "shared", "data", name))
	if err != nil {
		t.Skipf("the recorded drives are not here: %v", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.LimitReader(z, 500_000))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
