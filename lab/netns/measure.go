package netns

import (
	"time"

	"telemetry/lab/link"
)

// Measurement tries how well links keep to their specs, with one TCP connection
// of the kernel over each: round trips while all are idle, then all filled at
// once.
type Measurement struct {
	Config     Config
	Settle     time.Duration // all are filled for so long before it counts; 0 = 2 s
	Fill       time.Duration // and for so long while it counts; 0 = 5 s
	Tries      int           // runs until one was not disturbed; 0 = 3
	Congestion string        // the car's TCP congestion control; "" = the kernel's default
}

// Limits that a zero Measurement takes.
const (
	defaultSettle = 2 * time.Second
	defaultFill   = 5 * time.Second
	defaultTries  = 3
	idlePings     = 20
)

// Result is what was measured, in the last try.
type Result struct {
	Links      []LinkResult `json:"links"`
	Seconds    float64      `json:"seconds"` // of the fill
	Tries      int          `json:"tries"`
	Disturbed  bool         `json:"disturbed"` // by more than link.DisturbedAfter: the figures say nothing
	LateP50US  float64      `json:"late_p50_us"`
	LateP99US  float64      `json:"late_p99_us"`
	LateMaxUS  float64      `json:"late_max_us"`
	CarrierCPU float64      `json:"carrier_cpu"` // processors that the carrier used while filling
}

// LinkResult is what one link did. Rates are of the direction from the car.
type LinkResult struct {
	Device        string     `json:"device"`
	DelaysMS      float64    `json:"delays_ms"`  // both ways, as the specs say
	RTTMinMS      float64    `json:"rtt_min_ms"` // idle
	RTTMedianMS   float64    `json:"rtt_median_ms"`
	CapacityMbps  float64    `json:"capacity_mbps"`  // what the model could carry; 0 = no limit
	CarriedMbps   float64    `json:"carried_mbps"`   // IP packets that came out of it
	DeliveredMbps float64    `json:"delivered_mbps"` // payload that the receiver read
	Dropped       link.Drops `json:"dropped"`        // while filling
	Unread        int64      `json:"unread"`         // packets lost between kernel and carrier while filling
}
