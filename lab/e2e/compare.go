package e2e

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"telemetry/internal/status"
	"telemetry/wire"
)

// job is what check.py is told.
type job struct {
	Log      string   `json:"log"`
	DBC      string   `json:"dbc"`
	Milli    int64    `json:"milli"`
	Source   string   `json:"source"`
	Expected string   `json:"expected"`
	Brokers  string   `json:"brokers"`
	Prefix   string   `json:"prefix"`
	Group    string   `json:"group"`
	Origin   *int64   `json:"origin"`
	Clock    []Sample `json:"clock"`
	LimitS   float64  `json:"limit_s"`
	Others   []string `json:"others"` // groups that do not come from the log
}

// newJob returns what check.py needs to know before the run.
func (r *run) newJob() (job, error) {
	cache, err := r.cacheFile()
	return job{
		Log: r.Log, DBC: r.OracleDBC, Milli: int64(math.Round(r.Speed * 1000)), Source: sourceName, Expected: cache,
		Prefix: prefix, Group: prefix + "-sequence", LimitS: settleLimit.Seconds(),
	}, err
}

func (r *run) checker() *Checker {
	return &Checker{Name: "e2e", Python: r.Python, Script: filepath.Join(r.Scripts, "check.py"), Dir: r.dir, Progress: r.Progress}
}

func (r *run) decode(ctx context.Context) error {
	j, err := r.newJob()
	if err != nil {
		return err
	}
	return r.checker().Decode(ctx, j)
}

// compare has check.py read the outputs and returns what it found.
func (r *run) compare(ctx context.Context) (*Result, error) {
	r.say("comparing with cantools' own decoding of the log")
	j, err := r.newJob()
	if err != nil {
		return nil, err
	}
	if j.Origin, err = r.origin(); err != nil {
		return nil, err
	}
	if j.Others, err = OtherGroups(ctx, filepath.Join(r.dir, "edgeagent.sock"), sourceName); err != nil {
		return nil, err
	}
	j.Brokers, j.Clock = strings.Join(r.stack.Brokers(), ","), r.clock
	res := &Result{Kafka: r.Kafka}
	parsed, err := r.checker().Compare(ctx, j, res, ErrDiffers)
	if !parsed {
		return nil, err
	}
	res.Seconds = math.Round(time.Since(r.begun).Seconds()*10) / 10
	return res, err
}

// OtherGroups asks the agent behind socket for the groups of all sources but
// source: their rows are no business of the log that it plays.
func OtherGroups(ctx context.Context, socket, source string) ([]string, error) {
	var c wire.Catalogue
	if err := status.Call(ctx, socket, http.MethodGet, "/v1/catalogue", &c); err != nil {
		return nil, fmt.Errorf("e2e: catalogue: %w", err)
	}
	names := []string{}
	for _, g := range c.Groups {
		if g.Source != source {
			names = append(names, g.Name)
		}
	}
	return names, nil
}

// cacheFile names the decoded log after all that decides it.
func (r *run) cacheFile() (string, error) {
	dir := r.Cache
	if dir == "" {
		dir = r.dir
	}
	return CacheFile(dir, r.Speed, r.Log, r.OracleDBC, filepath.Join(r.Scripts, "oracle.py"))
}

// CacheFile names a file in dir, which it makes, after the contents of others
// and the speed of the replay.
func CacheFile(dir string, speed float64, from ...string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%g", speed)
	for _, p := range from {
		f, err := os.Open(p)
		if err != nil {
			return "", fmt.Errorf("e2e: %w", err)
		}
		_, err = io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", fmt.Errorf("e2e: read %s: %w", p, err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("e2e: cache: %w", err)
	}
	return filepath.Join(dir, "decoded-"+hex.EncodeToString(h.Sum(nil)[:8])), nil
}

var replayStarted = regexp.MustCompile(`msg="replay started".* boot_ns=(\d+)`)

// origin finds the boot time of the log's first frame in the agent's log.
func (r *run) origin() (*int64, error) {
	f, err := os.Open(r.stack.LogPath("edgeagent"))
	if err != nil {
		return nil, fmt.Errorf("e2e: log of the agent: %w", err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if m := replayStarted.FindStringSubmatch(sc.Text()); m != nil {
			v, err := strconv.ParseInt(m[1], 10, 64)
			return &v, err
		}
	}
	return nil, errors.New("e2e: the agent's log does not say when the replay started")
}
