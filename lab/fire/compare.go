package fire

import (
	"context"
	"math"
	"path/filepath"
	"strings"
	"time"

	"telemetry/lab/e2e"
)

// job is what check_fire.py is told.
type job struct {
	Log          string       `json:"log"`
	DBC          string       `json:"dbc"`
	Milli        int64        `json:"milli"` // speed in thousandths
	Source       string       `json:"source"`
	Expected     string       `json:"expected"`
	Brokers      string       `json:"brokers"`
	Prefix       string       `json:"prefix"`
	Group        string       `json:"group"`
	Clock        []e2e.Sample `json:"clock"`
	LimitS       float64      `json:"limit_s"`
	Others       []string     `json:"others"` // groups that do not come from the log
	Truth        string       `json:"truth"`
	Kills        [][2]int64   `json:"kills"` // of the agent
	ResolutionNS int64        `json:"resolution_ns"`
	BoundNS      int64        `json:"bound_ns"`
}

func (r *run) newJob() (job, error) {
	dir := r.Cache
	if dir == "" {
		dir = r.dir
	}
	cache, err := e2e.CacheFile(dir, 1, r.Log, r.OracleDBC, filepath.Join(r.CompareScripts, "oracle.py"))
	return job{
		Log: r.Log, DBC: r.OracleDBC, Milli: 1000, Source: sourceName, Expected: cache,
		Prefix: prefix, Group: prefix + "-sequence", LimitS: settleLimit.Seconds(),
		Truth: filepath.Join(r.dir, "truth"), Kills: [][2]int64{}, ResolutionNS: int64(resolution), BoundNS: int64(dataBound),
	}, err
}

func (r *run) checker() *e2e.Checker {
	return &e2e.Checker{Name: "fire", Python: r.Python, Script: filepath.Join(r.Scripts, "check_fire.py"), Dir: r.dir, Progress: r.Progress}
}

func (r *run) decode(ctx context.Context) error {
	j, err := r.newJob()
	if err != nil {
		return err
	}
	return r.checker().Decode(ctx, j)
}

// compare has check_fire.py read the outputs and returns what it found.
func (r *run) compare(ctx context.Context) (*Result, error) {
	r.say("comparing with what was on the bus, as cantools decodes it")
	j, err := r.newJob()
	if err != nil {
		return nil, err
	}
	if j.Others, err = e2e.OtherGroups(ctx, filepath.Join(r.dir, "edgeagent.sock"), sourceName); err != nil {
		return nil, err
	}
	if err := r.bus.write(j.Truth); err != nil {
		return nil, err
	}
	j.Brokers, j.Clock, j.Kills = strings.Join(r.stack.Brokers(), ","), r.clock, append(j.Kills, r.deaths...)
	res := &Result{Kafka: r.Kafka, Broker: r.brokerName(), Kills: r.kills}
	parsed, err := r.checker().Compare(ctx, j, res, ErrDiffers)
	if !parsed {
		return nil, err
	}
	res.Seconds = math.Round(time.Since(r.begun).Seconds()*10) / 10
	return res, err
}
