// Package kafkasim is a Kafka cluster in memory, made for simulation: records
// with LogAppendTime, transactions, fencing, a consumer group with rebalances,
// retention, expiring offsets, a broker clock that jumps, stalls and answers
// that get lost. Without transactions it is the embedded broker.
//
// The entry point is [New]; a client is a [Process], which may be frozen or
// killed at any moment, and [Process.Backend] is its sequence.Backend. Package
// kafkatest holds the model and real clusters to the same conformance suite.
//
// It sleeps by timers only, each call for a time of its own that the seed
// decides, so that in a testing/synctest bubble no two calls ever meet and a
// seed decides everything. It never reads another clock.
package kafkasim

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Options describe a cluster.
type Options struct {
	Partitions int32
	// Atomic commits are transactions. Without it the cluster is the embedded
	// broker: outputs, state and offset are written one after the other.
	Atomic bool
	Seed   uint64
	Names  topic.Names
	// Trace gets what happens; it must be safe for concurrent use. nil: nobody.
	Trace func(format string, args ...any)
	// SessionTimeout is how long a member of the group may be silent; 0 means 6 s.
	SessionTimeout time.Duration
}

// Cluster is the brokers as the sequencer of one output knows them: the log is
// common, group, state and offsets are the output's. Its methods are safe for
// concurrent use.
type Cluster struct {
	*brokers
	opt   Options
	no    int // of the output
	parts []*partition
	group group
}

// brokers is what all outputs have in common.
type brokers struct {
	began    time.Time
	mu       sync.Mutex // guards everything below, and every output's
	outputs  map[string][]topic.Record
	cats     catalogues
	appended chan struct{} // closed and replaced at each append
	skewMS   int64         // of the brokers' clock
	stallTo  time.Time     // no request is answered before
	loseNext int           // answers to commits that get lost
	commits  []Commit
	rebal    int // generations so far
	fenced   int
	killed   int // commits cut off between their writes
	clusters int // outputs
}

// batchLog is one partition of batches.
type batchLog struct {
	log   []topic.Record
	start int64 // first offset that exists
}

// partition is one partition of batches, and an output's of state and of its group's
// offsets.
type partition struct {
	*batchLog
	state  map[string]topic.Record
	offset int64 // the group's; -1: none
	epoch  int   // of the transactional id
	// ends of the outputs before a commit that was not finished (embedded only).
	intent map[string]int
}

// Commit is what one commit made visible.
type Commit struct {
	Output     int // 0: of the cluster that New has made, then in the order of Beside
	Partition  int32
	Process    string
	Out, State []topic.Record
	Offset     int64
	AtMS       int64 // the brokers' clock
	Resumed    bool  // part of a commit that was cut off later (embedded only)
}

// New returns a cluster without records.
func New(o Options) *Cluster {
	if o.Trace == nil {
		o.Trace = func(string, ...any) {}
	}
	if o.SessionTimeout == 0 {
		o.SessionTimeout = 6 * time.Second
	}
	b := &brokers{began: time.Now(), outputs: map[string][]topic.Record{}, appended: make(chan struct{})}
	b.cats = catalogues{joiners: map[string]*wire.CatalogueJoiner{}, whole: map[wire.CatalogueHash][]byte{}}
	var logs []*batchLog
	for range o.Partitions {
		logs = append(logs, &batchLog{})
	}
	return b.output(o, logs)
}

// output returns the cluster as a new output knows it.
func (b *brokers) output(o Options, logs []*batchLog) *Cluster {
	c := &Cluster{brokers: b, opt: o, no: b.clusters}
	b.clusters++
	c.group = group{c: c, owner: map[int32]*Member{}}
	for _, l := range logs {
		c.parts = append(c.parts, &partition{batchLog: l, state: map[string]topic.Record{}, offset: -1})
	}
	return c
}

// Beside returns the same cluster for another output, which reads the same batches
// and writes to topics of its own.
func (c *Cluster) Beside(names topic.Names) *Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.opt
	o.Names = names
	var logs []*batchLog
	for _, p := range c.parts {
		logs = append(logs, p.batchLog)
	}
	return c.output(o, logs)
}

// NowMS is the brokers' clock, ms since 1970.
func (c *Cluster) NowMS() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Cluster) now() int64 { return time.Now().UnixMilli() + c.skewMS }

// Jump moves the brokers' clock.
func (c *Cluster) Jump(ms int64) {
	c.mu.Lock()
	c.skewMS += ms
	c.mu.Unlock()
}

// Stall makes the brokers answer nothing for a while.
func (c *Cluster) Stall(d time.Duration) {
	c.mu.Lock()
	c.stallTo = time.Now().Add(d)
	c.mu.Unlock()
}

// Stalled says for how long the brokers will still answer nothing.
func (c *Cluster) Stalled() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(0, time.Until(c.stallTo))
}

// LoseAnswers lets the next n commits succeed without telling their owners.
func (c *Cluster) LoseAnswers(n int) {
	c.mu.Lock()
	c.loseNext += n
	c.mu.Unlock()
}

// errNoPart: a record names a partition that does not exist.
var errNoPart = errors.New("kafkasim: no such partition")

// Append writes one record outside of any transaction, as a producer with
// acks=all does, and returns where it stands.
func (c *Cluster) Append(r topic.Record) (topic.Record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.append(clone(&r))
}

func (c *Cluster) append(r topic.Record) (topic.Record, error) {
	if r.Topic == c.opt.Names.Catalogues {
		c.cats.add(&r)
		return r, nil
	}
	if r.Partition < 0 {
		r.Partition = topic.Partition(r.Key, c.opt.Partitions)
	}
	if r.Partition >= c.opt.Partitions {
		return r, errNoPart
	}
	p := c.parts[r.Partition]
	r.Topic, r.Offset, r.TimestampMS = c.opt.Names.Batches, p.start+int64(len(p.log)), c.now()
	p.log = append(p.log, r)
	close(c.appended)
	c.appended = make(chan struct{})
	return r, nil
}

// Retain deletes the records of a partition below an offset and returns them.
func (c *Cluster) Retain(n int32, below int64) []topic.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.parts[n]
	k := min(max(0, below-p.start), int64(len(p.log)))
	gone := p.log[:k]
	p.log, p.start = slices.Clone(p.log[k:]), p.start+k
	return gone
}

// RetainOlder deletes what is older than an age, and returns it.
func (c *Cluster) RetainOlder(n int32, age time.Duration) []topic.Record {
	c.mu.Lock()
	p, limit := c.parts[n], c.now()-age.Milliseconds()
	k := 0
	for k < len(p.log) && p.log[k].TimestampMS < limit {
		k++
	}
	below := p.start + int64(k)
	c.mu.Unlock()
	return c.Retain(n, below)
}

// ForgetOffset lets the group's offset of a partition expire.
func (c *Cluster) ForgetOffset(n int32) {
	c.mu.Lock()
	c.parts[n].offset = -1
	c.mu.Unlock()
}

// Bounds returns the first offset that exists, the group's offset (-1: none) and
// the end.
func (c *Cluster) Bounds(n int32) (start, group, end int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.parts[n]
	return p.start, p.offset, p.start + int64(len(p.log))
}

// Output returns what a topic holds, in the order of writing.
func (c *Cluster) Output(name string) []topic.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.outputs[name])
}

// TakeCommits returns the commits since the last call, in order.
func (c *Cluster) TakeCommits() []Commit {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.commits
	c.commits = nil
	return out
}

// Counts returns how many generations the group has had, how many sessions were
// fenced, and how many commits were cut off.
func (c *Cluster) Counts() (rebalances, fenced, cut int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rebal, c.fenced, c.killed
}

// Catalogues returns how many whole catalogues there are, and the hashes from
// the given one on, in order of appearance.
func (c *Cluster) Catalogues(from int) []wire.CatalogueHash {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.cats.order[from:])
}

// catalogues joins the parts of catalogues.
type catalogues struct {
	joiners map[string]*wire.CatalogueJoiner
	whole   map[wire.CatalogueHash][]byte
	order   []wire.CatalogueHash
}

// add takes a record whose key is "<hash>/<crc>/<index>/<count>".
func (k *catalogues) add(r *topic.Record) {
	f := strings.Split(string(r.Key), "/")
	if len(f) != 4 {
		return
	}
	h, err := wire.ParseCatalogueHash(f[0])
	index, err1 := strconv.ParseUint(f[2], 10, 16)
	count, err2 := strconv.ParseUint(f[3], 10, 16)
	if errors.Join(err, err1, err2) != nil || k.whole[h] != nil {
		return
	}
	set := f[0] + "/" + f[1]
	j := k.joiners[set]
	if j == nil {
		j = &wire.CatalogueJoiner{}
		k.joiners[set] = j
	}
	b, whole, err := j.Add(&wire.CataloguePart{Hash: h, Index: uint16(index), Count: uint16(count), Data: r.Value})
	if err == nil && whole {
		k.whole[h] = b
		k.order = append(k.order, h)
	}
}

// clone copies a record out of memory that its owner will reuse.
func clone(r *topic.Record) topic.Record {
	k := *r
	k.Key, k.Value, k.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), slices.Clone(r.Headers)
	for i := range k.Headers {
		k.Headers[i].Value = bytes.Clone(k.Headers[i].Value)
	}
	return k
}

func cloneAll(rs []topic.Record) []topic.Record {
	out := make([]topic.Record, len(rs))
	for i := range rs {
		out[i] = clone(&rs[i])
	}
	return out
}

// rng returns a generator of the cluster's seed and some numbers.
func (c *Cluster) rng(n ...uint64) *rand.Rand {
	x := c.opt.Seed
	for _, v := range n {
		x = (x ^ v) * 0x9e3779b97f4a7c15
		x ^= x >> 29
	}
	return rand.New(rand.NewPCG(x, 0x6b61666b61))
}

var _ sequence.Backend = (*Backend)(nil)
