package dbc

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"telemetry/sensors/dbc"
	"telemetry/wire"
)

// Config says what to compare.
type Config struct {
	Dir        string          // all files *.dbc below it
	Python     string          // one that has cantools
	Script     string          // path of oracle.py
	Seed       uint64          // of the random payloads
	OnMismatch func(Mismatch)  // called for each, in the order of the files; may be nil
	OnFile     func(FileState) // called after each file; may be nil
	Progress   io.Writer       // what cantools complains about; nil: nowhere
}

// Mismatch is one value that is not the same.
type Mismatch struct {
	File    string `json:"file"`
	Message string `json:"message"`
	ID      uint32 `json:"id"`
	Signal  string `json:"signal,omitempty"`
	Payload string `json:"payload,omitempty"` // hexadecimal
	Ours    string `json:"ours"`              // "raw -> physical"
	Theirs  string `json:"cantools"`
}

// FileState says how it went with one file.
type FileState struct {
	File     string
	Warnings int
	Error    string // why we can't load it
	Theirs   string // why cantools can't
	Values   int
}

// Summary counts over all files.
type Summary struct {
	Files            int `json:"files"`
	Loaded           int `json:"loaded"`
	LoadedByCantools int `json:"loaded_by_cantools"`
	Values           int `json:"values"`
	Mismatches       int `json:"mismatches"`
	Messages         int `json:"messages"`
	Payloads         int `json:"payloads"`
	Refused          int `json:"refused"` // payloads that cantools refuses
	Untold           int `json:"untold"`  // signals that cantools has no value for, or not one of their own
	Warnings         int `json:"warnings"`
}

// Run compares all files. An error means that it could not be done, not that
// something differs.
func Run(cfg Config) (sum Summary, err error) {
	var files []string
	err = filepath.WalkDir(cfg.Dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.EqualFold(filepath.Ext(path), ".dbc") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return sum, fmt.Errorf("dbc: look for files: %w", err)
	}
	if len(files) == 0 {
		return sum, fmt.Errorf("dbc: no file *.dbc below %s", cfg.Dir)
	}
	o, err := startOracle(cfg)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	for _, path := range files {
		c := comparer{cfg: &cfg, oracle: o, sum: &sum, file: path}
		if err := c.run(); err != nil {
			return sum, fmt.Errorf("%s: %w", path, err)
		}
	}
	return sum, nil
}

// comparer compares one file.
type comparer struct {
	cfg    *Config
	oracle *oracle
	sum    *Summary
	file   string
}

func (c *comparer) run() error {
	state := FileState{File: c.file}
	before := c.sum.Values
	c.sum.Files++
	defs, db, warnings, err := load(c.file)
	state.Warnings = len(warnings)
	c.sum.Warnings += len(warnings)
	if err != nil {
		state.Error = err.Error()
	} else {
		c.sum.Loaded++
	}
	messages, why, askErr := c.oracle.load(c.file)
	if askErr != nil {
		return askErr
	}
	state.Theirs = why
	if why == "" {
		c.sum.LoadedByCantools++
		if err != nil {
			c.mismatch(Mismatch{Ours: err.Error(), Theirs: "loads it"})
		} else if err := c.messages(defs, db, messages); err != nil {
			return err
		}
	}
	state.Values = c.sum.Values - before
	if c.cfg.OnFile != nil {
		c.cfg.OnFile(state)
	}
	return nil
}

func load(path string) (*dbc.File, *dbc.Database, []dbc.Warning, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, nil, err
	}
	defer f.Close()
	file, warnings, err := dbc.Parse(f)
	if err != nil {
		return nil, nil, warnings, err
	}
	db, more := dbc.Compile(file)
	return file, db, append(warnings, more...), nil
}

func (c *comparer) mismatch(m Mismatch) {
	m.File = c.file
	c.sum.Mismatches++
	if c.cfg.OnMismatch != nil {
		c.cfg.OnMismatch(m)
	}
}

func (c *comparer) messages(file *dbc.File, db *dbc.Database, theirs []message) error {
	for _, m := range theirs {
		c.sum.Messages++
		var def *dbc.MessageDef
		for _, d := range file.Messages { // the last one counts
			if d.ID == m.ID && d.Extended == m.Extended {
				def = d
			}
		}
		ours := db.Lookup(m.ID, m.Extended)
		if def == nil || ours == nil || ours.ID != m.ID {
			c.mismatch(Mismatch{Message: m.Name, ID: m.ID, Ours: "no such message", Theirs: "has it"})
			continue
		}
		if err := c.message(def, ours, m); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparer) message(def *dbc.MessageDef, ours *dbc.Message, m message) error {
	h := fnv.New64a()
	fmt.Fprint(h, filepath.Base(c.file), m.ID, m.Extended)
	rng := rand.New(rand.NewPCG(c.cfg.Seed, h.Sum64()))
	all := payloads(def, m.Size, rng)
	text := make([]string, len(all))
	for i, p := range all {
		text[i] = hex.EncodeToString(p)
	}
	answers, err := c.oracle.decode(m, text)
	if err != nil {
		return err
	}
	skip := untold(def, m)
	c.sum.Untold += len(m.Ambiguous) + len(m.Unreachable)
	values := make([]int64, len(ours.Signals))
	present := make([]uint64, (len(ours.Signals)+63)/64)
	for i, theirs := range answers {
		c.sum.Payloads++
		if theirs == nil {
			c.sum.Refused++
			continue
		}
		for _, name := range m.Dropped {
			delete(theirs, name)
		}
		ours.Decode(all[i], values, present)
		at := Mismatch{Message: m.Name, ID: m.ID, Payload: text[i]}
		seen := 0
		for k := range ours.Signals {
			s := &ours.Signals[k]
			if skip[s.Name] {
				continue
			}
			want, there := theirs[s.Name]
			have := present[k>>6]>>(k&63)&1 != 0
			if there {
				seen++
			}
			if !have && !there {
				continue
			}
			c.sum.Values++
			at.Signal, at.Ours, at.Theirs = s.Name, "absent", "absent"
			if have {
				at.Ours = rawText(s, values[k]) + " -> " + strconv.FormatFloat(s.Physical(values[k]), 'g', -1, 64)
			}
			if there {
				at.Theirs = want[0] + " -> " + want[1]
			}
			if have != there || !same(s, values[k], want) {
				c.mismatch(at)
			}
		}
		if seen != len(theirs) {
			c.unknown(at, ours, theirs)
		}
	}
	return nil
}

// untold returns the names of signals that cantools never tells the value of,
// or can't tell apart.
func untold(def *dbc.MessageDef, m message) map[string]bool {
	out := map[string]bool{}
	for _, name := range m.Unreachable {
		out[name] = true
	}
	for _, s := range def.Signals {
		if slices.Contains(m.Ambiguous, s.Start) {
			for n := range len(def.Signals) { // later ones of a name have a number
				out[s.Name+strings.Repeat(fmt.Sprintf("#%d", n+1), min(n, 1))] = true
			}
		}
	}
	return out
}

// unknown reports the signals that cantools alone knows.
func (c *comparer) unknown(at Mismatch, ours *dbc.Message, theirs map[string][2]string) {
	known := map[string]bool{}
	for i := range ours.Signals {
		known[ours.Signals[i].Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		if !known[name] {
			c.sum.Values++
			at.Signal, at.Ours, at.Theirs = name, "no such signal", theirs[name][0]+" -> "+theirs[name][1]
			c.mismatch(at)
		}
	}
}

// rawText is a raw word as a number of its type.
func rawText(s *dbc.Signal, raw int64) string {
	switch s.Type {
	case wire.TypeUint:
		return strconv.FormatUint(uint64(raw), 10)
	case wire.TypeF32:
		return strconv.FormatFloat(float64(math.Float32frombits(uint32(raw))), 'g', -1, 64)
	case wire.TypeF64:
		return strconv.FormatFloat(math.Float64frombits(uint64(raw)), 'g', -1, 64)
	}
	return strconv.FormatInt(raw, 10)
}

// same reports whether both values are those of cantools. Whole numbers that no
// float64 holds exactly are compared as the floats next to them.
func same(s *dbc.Signal, raw int64, theirs [2]string) bool {
	if rawText(s, raw) != numberText(theirs[0]) {
		return false
	}
	want, exact := number(theirs[1])
	got := s.Physical(raw)
	if got == want || math.IsNaN(got) && math.IsNaN(want) {
		return true
	}
	// Whole factors are multiplied without rounding there, and with it here.
	const wide = 1 << 53
	return exact && math.Abs(want) >= wide && math.Abs(got-want) <= math.Abs(want)/wide*4
}

// numberText is a raw value of cantools as rawText writes it.
func numberText(s string) string {
	v, whole := number(s)
	if whole {
		return s
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// number reads a value of cantools; whole tells an integer.
func number(s string) (v float64, whole bool) {
	if digits, ok := strings.CutPrefix(s, "f"); ok {
		bits, err := strconv.ParseUint(digits, 16, 64)
		if err != nil {
			return math.NaN(), false
		}
		return math.Float64frombits(bits), false
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return math.NaN(), false
	}
	v, _ = new(big.Float).SetInt(n).Float64()
	return v, true
}
