package headline

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// sendPlan names the variable that makes the test binary a sender.
const sendPlan = "HEADLINE_TEST_SEND"

func TestMain(m *testing.M) {
	if os.Getenv(sendPlan) != "" {
		if err := Send(context.Background(), os.Args[len(os.Args)-1], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestStreamOverTheLoopback(t *testing.T) {
	t.Setenv(sendPlan, "1")
	cfg := UDPConfig{
		Config:         Config{Channels: 500, RateHz: 1500, Seconds: 1, Rows: 15, Dir: t.TempDir(), Speeds: []string{"fast"}},
		StreamChannels: 120, Sender: []string{os.Args[0]},
	}
	got, err := RunUDP(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	// Five streams of 100 datagrams; all is taken in, or told.
	if got.Sent != 500*1500 || got.Taken+got.Lost*15*120 < got.Sent || got.Lost > 0 != (got.Taken < got.Sent) {
		t.Errorf("%+v", got)
	}
	if got.Batches == 0 || got.BitsPerSample < 1 || got.BitsPerSample > 16 || got.ReceiverCores <= 0 || got.SenderCores <= 0 {
		t.Errorf("%+v", got)
	}
	cfg.Rows = 400
	if _, err := RunUDP(t.Context(), cfg); err == nil {
		t.Error("datagrams that are too long were sent")
	}
}
