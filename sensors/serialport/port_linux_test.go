package serialport_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	sensorlab "telemetry/lab/sensors"
	"telemetry/sensors/serialport"
)

func openPTY(t *testing.T, link string) *sensorlab.PTY {
	t.Helper()
	p, err := sensorlab.OpenPTY(link)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	t.Cleanup(func() { _ = p.Close() }) // it may be unplugged
	return p
}

func openPort(t *testing.T, path string) *serialport.Port {
	t.Helper()
	p, err := serialport.Open(path, 115200)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestBytesPassAsTheyAre(t *testing.T) {
	pty := openPTY(t, "")
	port := openPort(t, pty.Path)
	defer port.Close()
	if pty.Baud() != 115200 {
		t.Errorf("%d baud", pty.Baud())
	}
	want := make([]byte, 256)
	for i := range want {
		want[i] = byte(i) // control characters, XON and XOFF among them
	}
	if _, err := pty.Write(want); err != nil {
		t.Fatal(err)
	}
	var got []byte
	buf := make([]byte, 512)
	for len(got) < len(want) {
		n, err := port.Read(buf, time.Second)
		if err != nil || n == 0 {
			t.Fatalf("%d of %d bytes: %v", len(got), len(want), err)
		}
		got = append(got, buf[:n]...)
	}
	if string(got) != string(want) {
		t.Errorf("got %x", got)
	}
	if err := port.Write(want); err != nil {
		t.Fatal(err)
	}
	for got = got[:0]; len(got) < len(want); {
		n, err := pty.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:n]...)
	}
	if string(got) != string(want) {
		t.Errorf("sent %x", got)
	}
	if err := port.SetBaud(921600); err != nil || pty.Baud() != 921600 {
		t.Errorf("%d baud, %v", pty.Baud(), err)
	}
}

func TestSilenceIsNoError(t *testing.T) {
	pty := openPTY(t, "")
	port := openPort(t, pty.Path)
	defer port.Close()
	for range 150 { // more than a buffered reader takes
		if n, err := port.Read(make([]byte, 8), time.Millisecond); n != 0 || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
}

func TestAPortHasOneReader(t *testing.T) {
	dir := t.TempDir()
	byPath, byID := filepath.Join(dir, "by-path"), filepath.Join(dir, "by-id")
	pty := openPTY(t, byPath)
	if err := os.Symlink(byPath, byID); err != nil {
		t.Fatal(err)
	}
	port := openPort(t, byID)
	for _, path := range []string{byID, byPath, pty.Path} {
		if other, err := serialport.Open(path, 9600); !errors.Is(err, serialport.ErrBusy) {
			t.Errorf("%s was opened twice: %v %v", path, other, err)
		}
	}
	if err := port.Close(); err != nil {
		t.Fatal(err)
	}
	if err := pty.Reset(); err != nil { // the peer of the test keeps the line open
		t.Fatal(err)
	}
	again := openPort(t, byPath)
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestUnpluggedDeviceIsAnError(t *testing.T) {
	pty := openPTY(t, "")
	port := openPort(t, pty.Path)
	defer port.Close()
	if err := pty.Close(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	for end := time.Now().Add(10 * time.Second); ; {
		n, err := port.Read(buf, 10*time.Millisecond)
		if err != nil {
			break
		}
		if n > 0 || time.Now().After(end) {
			t.Fatal("a device that is gone is read")
		}
	}
	if err := port.Write([]byte("x")); err == nil {
		t.Error("a device that is gone is written to")
	}
}

func TestDeviceThatTakesNothing(t *testing.T) {
	pty := openPTY(t, "")
	port := openPort(t, pty.Path)
	err := port.Write(make([]byte, 1<<20)) // nobody reads: the line's buffer is full
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := port.Close(); err != nil {
		t.Error(err)
	}
}

func TestAwait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usb")
	ctx, cancel := context.WithCancel(t.Context())
	there := make(chan error, 1)
	go func() { there <- serialport.Await(ctx, path) }() // ends when something is there
	select {
	case err := <-there:
		t.Fatalf("nothing is there: %v", err)
	default:
	}
	openPTY(t, path)
	if err := <-there; err != nil {
		t.Error(err)
	}
	cancel()
	if err := serialport.Await(ctx, path+"2"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := serialport.Open(path+"2", 9600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := serialport.Open(file, 9600); err == nil {
		t.Error("a file was opened as a port")
	}
}
