package pagetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"telemetry/lab/demo"
	"telemetry/lab/link"
	"telemetry/lab/simtrack"
	"telemetry/lab/stack"
	"telemetry/sensors/sim"
)

// Config says what is driven, and where what it leaves goes.
type Config struct {
	Bin      string // folder of edgeagent and receiver
	Dir      string // for pictures and downloads; it is emptied first
	Chromium string
	Axe      string // axe.min.js
	Python   string // with the readers of scripts/page-requirements.txt
	Reader   string // read.py
	Pictures string // folder that the README's pictures go to; "": none
	Only     []string
	Keep     bool // the stack's folder is kept
	Progress io.Writer
}

// ErrFailed says that something is not as it should be; the results say what.
var ErrFailed = errors.New("the page is not what it should be")

// carName is the car of the suite.
const carName = "page-car"

// The car drives short laps, so that two are there soon.
const (
	lapTime = 25 * time.Second
	sectors = 3
)

// suite is one stack with a browser in front of it.
type suite struct {
	cfg     Config
	l       *ledger
	car     sim.Config
	stack   *stack.Stack
	browser *Browser
	url     string
	page    *Page  // of the engineer, open from login to the end
	token   tokens // empty without a login
	api     *API   // as admin
	begun   time.Time
}

// tokens are those of the three roles.
type tokens struct{ viewer, engineer, admin string }

// Run drives everything and writes a line of JSON per result to out.
func Run(ctx context.Context, cfg Config, out io.Writer) error {
	if err := os.RemoveAll(cfg.Dir); err != nil {
		return fmt.Errorf("pagetest: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "downloads"), 0o755); err != nil {
		return fmt.Errorf("pagetest: %w", err)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return fmt.Errorf("pagetest: %w", err)
	}
	cfg.Dir = dir
	l := newLedger(out)
	b, err := OpenBrowser(ctx, cfg.Chromium, cfg.Dir)
	if err != nil {
		return err
	}
	defer b.Close()
	for _, part := range cfg.parts() {
		s := &suite{cfg: cfg, l: l, car: part.car, browser: b}
		steps := cfg.wanted(part.steps)
		if len(steps) == 0 {
			continue
		}
		if err := s.run(ctx, part.links, part.login, steps); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if bad := l.failed(); len(bad) > 0 {
		return fmt.Errorf("%w: %s", ErrFailed, strings.Join(bad, ", "))
	}
	return l.werr
}

// part is a car with its steps.
type part struct {
	name  string
	car   sim.Config
	links []stack.Link
	login bool
	steps []step
}

func (c *Config) parts() []part {
	if c.Pictures != "" {
		return []part{{"pictures", pictureCar(), wallLinks(), false, pictureSteps()}}
	}
	demoCar, demoLinks := demo.Usual()
	return []part{
		{"wall", wallCar(), wallLinks(), true, wallSteps()},
		{"demo", demoCar, demoLinks, false, demoSteps()},
		{"speed", speedCar(), speedLinks(), false, speedSteps()},
	}
}

// step is one thing that is driven, after those that it needs.
type step struct {
	name  string
	do    func(*suite, context.Context) error
	needs []string
}

// wanted are the steps that are asked for, all without a word, and those that they
// need.
func (c *Config) wanted(steps []step) []step {
	if len(c.Only) == 0 {
		return steps
	}
	take := map[string]bool{}
	for _, st := range slices.Backward(steps) { // what is needed stands before
		if !take[st.name] && !slices.Contains(c.Only, st.name) {
			continue
		}
		take[st.name] = true
		for _, n := range st.needs {
			take[n] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(steps), func(st step) bool { return !take[st.name] })
}

func (s *suite) say(format string, args ...any) {
	fmt.Fprintf(s.cfg.Progress, "page-test: %6.1fs %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}

// run starts a stack and drives the page before it.
func (s *suite) run(ctx context.Context, links []stack.Link, login bool, steps []step) (err error) {
	s.begun = time.Now()
	dir, err := os.MkdirTemp("", "telemetry-page-")
	if err != nil {
		return fmt.Errorf("pagetest: folder for state: %w", err)
	}
	defer func() {
		if s.cfg.Keep {
			s.say("state and logs are kept in %s", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	cfg, err := s.config(ctx, dir, links, login)
	if err != nil {
		return err
	}
	if s.stack, err = stack.Start(ctx, cfg); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stack.Close()) }()
	s.url = s.stack.LiveURL()
	s.api = &API{base: s.url}
	if login {
		if err := s.api.Login(ctx, s.token.admin); err != nil {
			return err
		}
	}
	defer func() {
		if s.page != nil {
			s.page.Close()
		}
	}()
	for _, step := range steps {
		s.say("%s", step.name)
		if err := step.do(s, ctx); err != nil {
			if ctx.Err() != nil || s.stack.Err() != nil {
				return errors.Join(err, s.stack.Err())
			}
			s.l.put(Result{Name: step.name, Note: err.Error()})
			s.snap("failed-" + step.name)
		}
	}
	return nil
}

// snap keeps a picture of where something went wrong, if there is a page.
func (s *suite) snap(name string) {
	if s.page == nil {
		return
	}
	if err := s.page.Picture(filepath.Join(s.cfg.Dir, name+".png"), false); err != nil {
		s.say("%v", err)
	}
}

func (s *suite) config(ctx context.Context, dir string, links []stack.Link, login bool) (stack.Config, error) {
	session, err := simtrack.Session(s.car, "Page ring", sectors)
	if err != nil {
		return stack.Config{}, err
	}
	cfg := stack.Config{
		Dir: dir, Bin: s.cfg.Bin, Car: carName, Links: links, Agent: session,
		Sources: fmt.Sprintf("- name: car\n  sim: {channels: %d, rate: %dHz, seed: %d, lap_time: %v, full_rate: %v}\n",
			s.car.Channels, s.car.RateMilliHz/1000, s.car.Seed, s.car.LapTime, s.car.FullRate),
		Windows: map[string]string{"critical": "none", "full": "none"},
	}
	if !login {
		return cfg, nil
	}
	file := filepath.Join(dir, "tokens.json")
	cfg.Live = fmt.Sprintf("login:\n  tokens: %q\n", file)
	for role, to := range map[string]*string{"viewer": &s.token.viewer, "engineer": &s.token.engineer, "admin": &s.token.admin} {
		if *to, err = s.addToken(ctx, file, role); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

// addToken makes a token as an operator does.
func (s *suite) addToken(ctx context.Context, file, role string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.cfg.Bin, "receiver"), "page", "token", "add", "--file", file, "--role", role, "the-"+role)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("pagetest: receiver page token add: %w: %s", err, errs.String())
	}
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "page_") {
			return word, nil
		}
	}
	return "", fmt.Errorf("pagetest: receiver page token add says no token: %s", out)
}

// wallCar is light: the machine draws in software beside it.
func wallCar() sim.Config {
	return sim.Config{Channels: 90, RateMilliHz: 500_000, Seed: 11, LapTime: lapTime}
}

// wallLinks: two that are near but narrow, one wide and far away. The car sends about
// 170 kbit/s, so that the far link always carries a good part: when it falls silent,
// what is on its way opens a hole.
func wallLinks() []stack.Link {
	spec := func(kbit int64, delay, jitter time.Duration) link.Spec {
		return link.Spec{BitRate: kbit * 1000, Delay: delay, Jitter: jitter}
	}
	return []stack.Link{
		{Name: "lte-a", Up: spec(60, 30*time.Millisecond, 10*time.Millisecond), Down: spec(4000, 30*time.Millisecond, 10*time.Millisecond), Seed: 1},
		{Name: "lte-b", Up: spec(40, 50*time.Millisecond, 20*time.Millisecond), Down: spec(4000, 40*time.Millisecond, 10*time.Millisecond), Seed: 2},
		{Name: "sat-c", Up: spec(2000, 450*time.Millisecond, 20*time.Millisecond), Down: spec(4000, 250*time.Millisecond, 20*time.Millisecond), Seed: 3},
	}
}

// speedCar has more than 50 channels at 1,500 Hz: 16 of its own and all further ones.
func speedCar() sim.Config {
	return sim.Config{Channels: 112, RateMilliHz: sim.MaxRateMilliHz, Seed: 12, LapTime: lapTime, FullRate: true}
}

func speedLinks() []stack.Link {
	wide := link.Spec{BitRate: 20_000_000, Delay: 20 * time.Millisecond}
	return []stack.Link{{Name: "lte-a", Up: wide, Down: wide, Seed: 4}, {Name: "lte-b", Up: wide, Down: wide, Seed: 5}}
}
