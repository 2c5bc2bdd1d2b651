package fire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"telemetry/internal/status"
	"telemetry/lab/e2e"
	"telemetry/wire"
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

// check runs check_fire.py and returns its standard output.
func (r *run) check(ctx context.Context, j job, args ...string) ([]byte, error) {
	b, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("fire: job: %w", err)
	}
	path := filepath.Join(r.dir, "job.json")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return nil, fmt.Errorf("fire: job: %w", err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, r.Python, append([]string{"-B", filepath.Join(r.Scripts, "check_fire.py"), "--job", path}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, r.Progress
	err = cmd.Run()
	return out.Bytes(), err
}

// decode has cantools decode the log, so that a DBC that it cannot read is told
// before anything is played.
func (r *run) decode(ctx context.Context) error {
	j, err := r.newJob()
	if err != nil {
		return err
	}
	if _, err = r.check(ctx, j, "--decode-only"); err != nil {
		return fmt.Errorf("fire: decode the log with cantools: %w", err)
	}
	return nil
}

// compare has check_fire.py read the outputs and returns what it found.
func (r *run) compare(ctx context.Context) (*Result, error) {
	r.say("comparing with what was on the bus, as cantools decodes it")
	j, err := r.newJob()
	if err != nil {
		return nil, err
	}
	if j.Others, err = r.others(ctx); err != nil {
		return nil, err
	}
	if err := r.bus.write(j.Truth); err != nil {
		return nil, err
	}
	j.Brokers, j.Clock, j.Kills = strings.Join(r.stack.Brokers(), ","), r.clock, append(j.Kills, r.deaths...)
	out, runErr := r.check(ctx, j)
	res := &Result{Kafka: r.Kafka, Broker: r.brokerName(), Kills: r.kills}
	if err := json.Unmarshal(out, res); err != nil {
		return nil, errors.Join(fmt.Errorf("fire: check_fire.py gave no result: %w", err), runErr)
	}
	res.Seconds = math.Round(time.Since(r.begun).Seconds()*10) / 10
	var exit *exec.ExitError
	if errors.As(runErr, &exit) && exit.ExitCode() == 1 {
		return res, fmt.Errorf("%w: %s", ErrDiffers, bytes.TrimSpace(out))
	}
	return res, runErr
}

// others asks the agent for the groups of its other sources: their rows are no
// business of the log.
func (r *run) others(ctx context.Context) ([]string, error) {
	var c wire.Catalogue
	if err := status.Call(ctx, filepath.Join(r.dir, "edgeagent.sock"), http.MethodGet, "/v1/catalogue", &c); err != nil {
		return nil, fmt.Errorf("fire: catalogue: %w", err)
	}
	names := []string{}
	for _, g := range c.Groups {
		if g.Source != sourceName {
			names = append(names, g.Name)
		}
	}
	return names, nil
}
