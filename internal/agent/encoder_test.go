package agent

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/wire"
)

func seals() config.Seal {
	ms := func(n int) config.Duration { return config.Duration(time.Duration(n) * time.Millisecond) }
	return config.Seal{Full: ms(100), Live: ms(100), Critical: ms(10)}
}

// bench is an encoder under test with sinks for its sources.
type bench struct {
	*encoder
	plan  *plan
	spool *memSpool
	taken *Taken
	sinks []*sink
	stop  context.CancelFunc
}

// newBench starts an encoder for some sources, in a synctest bubble.
func newBench(t *testing.T, live config.Preview, groups ...[]wire.Group) *bench {
	t.Helper()
	var sources []namedSource
	for i, g := range groups {
		sources = append(sources, namedSource{name: string(rune('a' + i)), source: &script{groups: g}})
	}
	return newBenchOf(t, live, sources...)
}

func newBenchOf(t *testing.T, live config.Preview, sources ...namedSource) *bench {
	t.Helper()
	p, err := newPlan("car-7", sources, live)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{plan: p, spool: &memSpool{}, taken: &Taken{}}
	b.encoder = newEncoder(p, b.spool, seals(), b.taken, silent())
	for i := range sources {
		b.sinks = append(b.sinks, &sink{enc: b.encoder, stop: t.Context().Done(), routes: p.routes[i]})
	}
	ctx, stop := context.WithCancel(t.Context())
	b.stop = func() { stop(); <-b.ended }
	go func() { _ = b.Run(ctx) }() // ends with stop
	return b
}

func (b *bench) received(t *testing.T) *received { return b.spool.read(t, &b.plan.catalogue) }

var (
	noLive   = config.Preview{Off: true}
	liveLast = config.Preview{Rate: 10_000, Statistic: "last", Channels: []string{"*"}}
)

// randomRows makes n rows at irregular ticks; with holes, every third value is
// absent. want gets what is there.
func randomRows(r *rand.Rand, g int, grp wire.Group, from int64, n int, holes bool, want map[point]int) sensors.Rows {
	w := len(grp.Channels)
	rows := sensors.Rows{Group: g}
	if holes {
		rows.Present = make([]uint64, (n*w+63)/64)
	}
	for i := range n {
		from += r.Int64N(1e6) + 1
		rows.Ticks = append(rows.Ticks, from)
		for c := range w {
			v := r.Int64() >> r.IntN(64)
			rows.Values = append(rows.Values, v)
			if holes && r.IntN(3) == 0 {
				continue
			}
			if holes {
				at := i*w + c
				rows.Present[at>>6] |= 1 << (at & 63)
			}
			want[point{grp.Channels[c].Name, from, v}]++
		}
	}
	return rows
}

func TestEveryAppendedRowIsInOneBatchOnce(t *testing.T) {
	critical := group("crit", 7)
	critical.Lane = wire.LaneCritical
	tests := []struct {
		name   string
		groups []wire.Group
		rows   int // in one append
		holes  bool
	}{
		{"one channel", []wire.Group{group("g", 1)}, 50, false},
		{"many groups", []wire.Group{group("g", 3), group("h", 8), group("i", 1)}, 17, false},
		{"absent values", []wire.Group{group("g", 13), group("h", 64)}, 33, true},
		{"wider than a chunk", []wire.Group{group("wide", 600)}, 8, true},
		{"longer than a chunk", []wire.Group{group("g", 5)}, 1000, true},
		{"critical lane", []wire.Group{critical, group("g", 2)}, 9, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, noLive, tt.groups)
				r := rand.New(rand.NewPCG(1, 2))
				want := map[wire.Lane]map[point]int{wire.LaneCritical: {}, wire.LaneFull: {}}
				for i := range 20 {
					g := i % len(tt.groups)
					lane := b.plan.catalogue.Groups[g].Lane
					rows := randomRows(r, g, tt.groups[g], int64(i+1)*1e11, tt.rows, tt.holes, want[lane])
					if err := b.sinks[0].Append(rows); err != nil {
						t.Fatal(err)
					}
					clear(rows.Values) // the sink has copied
					clear(rows.Present)
					time.Sleep(30 * time.Millisecond)
				}
				b.stop()
				got := b.received(t)
				n := uint64(0)
				for lane, points := range want {
					got.check(t, lane, points)
					n += uint64(len(points))
				}
				if taken := b.taken.Samples[wire.LaneFull].Load() + b.taken.Samples[wire.LaneCritical].Load(); taken != n {
					t.Errorf("counted %d samples, want %d", taken, n)
				}
				for lane, limit := range map[wire.Lane]int{wire.LaneCritical: wire.MaxCriticalBytes, wire.LaneFull: wire.MaxFullBytes} {
					if got.biggest[lane] > limit-headerRoom {
						t.Errorf("%s: a payload of %d bytes", lane, got.biggest[lane])
					}
				}
			})
		})
	}
}

// What is not yet sealed is lost with the process: rows that their source has held
// wait the less here, but a backlog is not cut into small batches.
func TestRowsThatTheirSourceHeldAreSealedSooner(t *testing.T) {
	p, err := newPlan("car-7", []namedSource{{name: "a", source: &script{groups: []wire.Group{group("g", 1)}}}}, noLive)
	if err != nil {
		t.Fatal(err)
	}
	seal := seals().Full.D()
	for _, c := range []struct {
		name      string
		age, want time.Duration
	}{
		{"fresh", 0, seal},
		{"from the future", -time.Second, seal},
		{"held for a while", seal / 4, seal - seal/4},
		{"a backlog", time.Hour, seal / 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEncoder(p, &memSpool{}, seals(), &Taken{}, silent())
				e.boot = func() int64 { return int64(24 * time.Hour) }
				e.add(e.lanes[wire.LaneFull], 0, e.boot()-int64(c.age), []int64{1}, nil, 0)
				if d, ok := e.nextDeadline(); !ok || time.Until(d) != c.want {
					t.Errorf("sealed after %v, want %v", time.Until(d), c.want)
				}
			})
		})
	}
}

// §4 of the design: nothing waits more than 1 s to be sealed, however slow its
// group; that includes the preview of a group whose next row is far away.
func TestSlowGroupIsSealedWithinASecond(t *testing.T) {
	for _, rate := range []config.Rate{1_000, 2_000, 10_000, 1_500_000} {
		synctest.Test(t, func(t *testing.T) {
			live := liveLast
			live.Rate = rate
			b := newBench(t, live, []wire.Group{group("g", 2)})
			for i := range 3 {
				begun, before := time.Now(), len(b.spool.bodies)
				if err := b.sinks[0].Append(sensors.Rows{Ticks: []int64{int64(i+1) * 20e9}, Values: []int64{4, 5}}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Second)
				synctest.Wait()
				lanes := map[wire.Lane]time.Duration{}
				for k, body := range b.spool.bodies[before:] {
					lanes[body.Lane] = b.spool.at[before+k].Sub(begun)
				}
				for _, lane := range []wire.Lane{wire.LaneFull, wire.LaneLive} {
					if d, ok := lanes[lane]; !ok || d > time.Second {
						t.Errorf("%d mHz, row %d: %s sealed after %v (%v)", rate, i, lane, d, ok)
					}
				}
			}
			b.stop()
			got := b.received(t)
			if n := len(got.points[wire.LaneLive]); n != 6 {
				t.Errorf("%d mHz: %d preview samples of 6", rate, n)
			}
		})
	}
}

func TestFastSourceDoesNotHoldUpASlowOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, noLive, []wire.Group{group("fast", 4)}, []wire.Group{group("slow", 1)})
		if err := b.sinks[1].Append(sensors.Rows{Ticks: []int64{77}, Values: []int64{5}}); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for i := int64(1); time.Since(begun) < 2*time.Second; i++ {
			if err := b.sinks[0].Append(sensors.Rows{Ticks: []int64{i}, Values: []int64{1, 2, 3, 4}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		b.stop()
		for i, body := range b.spool.bodies {
			if body.FirstNS <= 77 && body.LastNS >= 77 {
				if d := b.spool.at[i].Sub(begun); d > 200*time.Millisecond {
					t.Errorf("sealed after %v", d)
				}
				return
			}
		}
		t.Error("the slow row is missing")
	})
}

func TestTicksThatGoBackCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, noLive, []wire.Group{group("g", 1)})
		want := map[point]int{}
		for _, tick := range []int64{1000, 2000, 500, 600, 100, 5000} {
			want[point{"g.aa", tick, tick}]++
			if err := b.sinks[0].Append(sensors.Rows{Ticks: []int64{tick}, Values: []int64{tick}}); err != nil {
				t.Fatal(err)
			}
		}
		b.stop()
		b.received(t).check(t, wire.LaneFull, want)
		if n := b.taken.Dropped.Load(); n != 0 {
			t.Errorf("%d samples dropped", n)
		}
	})
}

func TestWhatTheSpoolRefusesIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, noLive, []wire.Group{group("g", 3)})
		b.spool.fail = func(body wire.Body) error {
			if body.FirstNS < 1000 {
				return errors.New("no room")
			}
			return nil
		}
		for _, tick := range []int64{10, 2000} {
			if err := b.sinks[0].Append(sensors.Rows{Ticks: []int64{tick, tick + 1}, Values: []int64{1, 2, 3, 4, 5, 6}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		b.stop()
		if dropped, taken := b.taken.Dropped.Load(), b.taken.Samples[wire.LaneFull].Load(); dropped != 6 || taken != 6 {
			t.Errorf("dropped %d and took %d, want 6 and 6", dropped, taken)
		}
	})
}

func TestBackpressureHoldsTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		b := newBench(t, noLive, []wire.Group{group("g", 1)})
		b.spool.fail = func(wire.Body) error { <-open; return nil }
		want := map[point]int{}
		appended := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range int64(10 * chunkQueue) {
				want[point{"g.aa", i, i}]++
				if err := b.sinks[0].Append(sensors.Rows{Ticks: []int64{i}, Values: []int64{i}}); err != nil {
					t.Error(err)
				}
				appended++
				time.Sleep(time.Millisecond)
			}
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if appended >= 4*chunkQueue {
			t.Errorf("%d rows were taken while the spool stood still", appended)
		}
		close(open)
		<-done
		b.stop()
		b.received(t).check(t, wire.LaneFull, want)
	})
}

func TestFlushAndTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, liveLast, []wire.Group{group("g", 1)})
		if err := b.sinks[0].Append(sensors.Rows{Ticks: []int64{1}, Values: []int64{9}}); err != nil {
			t.Fatal(err)
		}
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.received(t); len(got.points[wire.LaneFull]) != 1 || len(got.points[wire.LaneLive]) != 1 {
			t.Errorf("after Flush: %v", got.points)
		}
		b.stop()
		if err := b.sinks[0].Append(sensors.Rows{Ticks: []int64{2}, Values: []int64{9}}); err == nil {
			// The queue has room: the row may be taken by nobody.
			for range chunkQueue {
				if err = b.sinks[0].Append(sensors.Rows{Ticks: []int64{2}, Values: []int64{9}}); err != nil {
					break
				}
			}
			if err == nil {
				t.Error("rows were taken after the end")
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Flush(ctx); !errors.Is(err, errStopping) {
			t.Errorf("Flush after the end: %v", err)
		}
	})
}

// nowhere takes batches and keeps nothing.
type nowhere struct{ bytes int }

func (n *nowhere) Append(b wire.Body) (wire.ID, error) {
	n.bytes += len(b.Payload)
	return wire.ID{}, nil
}

// From a source's rows to sealed batches nothing is allocated once the buffers
// have grown: not with absent values, not with a deadband, not at either speed.
func TestTakingAndSealingRowsAllocatesNothing(t *testing.T) {
	critical := group("crit", 12)
	critical.Lane = wire.LaneCritical
	band := config.Shape{Channels: []config.ChannelRule{{Match: config.Patterns{"*"}, Deadband: new(config.Band)}}}
	for _, tt := range []struct {
		name  string
		speed string
		group wire.Group
		shape config.Shape
		holes bool
	}{
		{"full speed", "full", group("g", 50), config.Shape{}, false},
		{"fast", "fast", group("g", 50), config.Shape{}, false},
		{"absent values", "full", group("g", 50), config.Shape{}, true},
		{"deadband", "full", group("g", 50), band, false},
		{"more than a batch", "full", group("g", 1500), config.Shape{}, false},
		{"columns larger than a batch", "auto", critical, config.Shape{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := newPlan("car-7", []namedSource{{name: "a", source: &script{groups: []wire.Group{tt.group}}, shape: tt.shape}}, liveLast)
			if err != nil {
				t.Fatal(err)
			}
			seal := seals()
			seal.Speed = tt.speed
			out := &nowhere{}
			e := newEncoder(p, out, seal, &Taken{}, silent())
			r, w := rand.New(rand.NewPCG(3, 4)), len(tt.group.Channels)
			rows := &rowChunk{ticks: make([]int64, 10), values: make([]int64, 10*w)}
			if tt.holes {
				rows.present = make([]uint64, (10*w+63)/64)
			}
			tick := int64(0)
			take := func() {
				for i := range rows.ticks {
					tick += 1e6
					rows.ticks[i] = tick
				}
				for i := range rows.values {
					rows.values[i] = r.Int64() >> 20
				}
				for i := range rows.present {
					rows.present[i] = r.Uint64() | r.Uint64()
				}
				e.takeRows(rows)
				if tick%100e6 == 0 {
					e.flushAll()
				}
			}
			for range 200 { // the buffers have grown
				take()
			}
			if n := testing.AllocsPerRun(100, take); n > 0 {
				t.Errorf("%v allocations for 10 rows", n)
			}
			if out.bytes == 0 {
				t.Error("nothing was sealed")
			}
		})
	}
}

func TestSpeedFollowsTheQueue(t *testing.T) {
	for _, tt := range []struct {
		name    string
		now     wire.Speed
		waiting int
		want    wire.Speed
	}{
		{"idle", wire.Full, 0, wire.Full},
		{"half full", wire.Full, chunkQueue / 2, wire.Full},
		{"behind", wire.Full, chunkQueue, wire.Fast},
		{"still behind", wire.Fast, chunkQueue / 2, wire.Fast},
		{"caught up", wire.Fast, 0, wire.Full},
	} {
		if got := speedFor(tt.now, tt.waiting); got != tt.want {
			t.Errorf("%s: speed %d, want %d", tt.name, got, tt.want)
		}
	}
}

// The same rows are fewer bytes at full speed, and as many samples.
func TestFullIsSmallerThanFast(t *testing.T) {
	sizes := map[string]int{}
	for _, speed := range []string{"fast", "full"} {
		p, err := newPlan("car-7", []namedSource{{name: "a", source: &script{groups: []wire.Group{group("g", 20)}}}}, noLive)
		if err != nil {
			t.Fatal(err)
		}
		seal, sp := seals(), &memSpool{}
		seal.Speed = speed
		e := newEncoder(p, sp, seal, &Taken{}, silent())
		want := map[point]int{}
		for i := range int64(150) {
			row := make([]int64, 20)
			for c := range row {
				row[c] = int64(1000*math.Sin(float64(i)/50+float64(c))) + i%3
				want[point{p.catalogue.Groups[0].Channels[c].Name, i * 1e6, row[c]}]++
			}
			e.add(e.lanes[wire.LaneFull], 0, i*1e6, row, nil, 0)
		}
		e.flushAll()
		sp.read(t, &p.catalogue).check(t, wire.LaneFull, want)
		for _, b := range sp.bodies {
			sizes[speed] += len(b.Payload)
		}
	}
	if sizes["full"]*10 > sizes["fast"]*9 {
		t.Errorf("bytes: %v", sizes)
	}
}

// TestNothingIsTakenThatNobodyEncodes: what is put while the encoder ends is either
// refused or in the spool; nobody is told that it was taken and loses it.
func TestNothingIsTakenThatNobodyEncodes(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, noLive, []wire.Group{group("g", 1)})
			taken := make(chan int)
			go func() { // ends when the encoder does
				for n := 0; ; n++ {
					if b.encoder.event(wire.Event{BootNS: int64(n), Name: "mark"}, nil) != nil {
						taken <- n
						return
					}
					if n == 20 {
						go b.stop() // ends when the encoder does
					}
				}
			}()
			n := <-taken
			<-b.ended
			synctest.Wait()
			for range 100 {
				if b.encoder.event(wire.Event{Name: "late"}, nil) == nil {
					t.Fatal("an encoder that has ended took an event")
				}
			}
			if got := b.taken.Batches[wire.LaneCritical].Load(); got < uint64(n) {
				t.Fatalf("%d events of %d that were taken are in the spool", got, n)
			}
		})
	}
}
