package spool

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// damage is one thing that happens to one file.
type damage struct {
	what string
	file string // below the spool
	do   func([]byte) []byte
}

// smallImage is a spool of a dozen chunks in the full lane: half of them old enough for
// a start to believe the table.
func smallImage() ChildSpec {
	return ChildSpec{Chunk: 4 << 10, Commit: 2 << 10, Quota: 64 << 20, CommitMS: 4, Min: payloadHead, Max: 700, Batches: 140, Settle: 0.1}
}

// imageRuns is for how many runs an image serves.
const imageRuns = 250

// hurt copies the image, damages the copy and checks it.
func (c *crash) hurt(ctx context.Context, im *image, d damage) error {
	dir := filepath.Join(c.dir, "run")
	defer os.RemoveAll(dir)
	if err := im.copy(dir); err != nil {
		return err
	}
	name := filepath.Join(dir, d.file)
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name, d.do(b), 0o644); err != nil {
		return err
	}
	spec := im.spec
	spec.Dir = dir
	_, err = c.check(ctx, fmt.Sprintf("run %d: %s of %s", c.res.Runs, d.what, d.file), im.fork(), spec)
	return err
}

// torn cuts the newest chunk of a lane anywhere behind the last batch that was
// acknowledged, as a power cut does that catches a write.
func (c *crash) torn(ctx context.Context) error {
	spec := smallImage()
	spec.Chunk, spec.Batches, spec.Silent = 256<<10, 40, 8
	for first := true; first || c.res.Runs < c.cfg.Runs; first = false {
		im, err := c.makeImage(ctx, spec, false)
		if err != nil {
			return err
		}
		cuts, err := im.tails()
		if err != nil {
			return err
		}
		if c.cfg.Runs == 0 {
			for _, d := range cuts {
				if err := c.hurt(ctx, im, d); err != nil {
					return err
				}
			}
			return nil
		}
		for i := 0; i < imageRuns && c.res.Runs < c.cfg.Runs; i++ {
			d := cuts[c.rnd.IntN(len(cuts))]
			if c.rnd.IntN(3) == 0 { // what a file system may leave behind the cut
				d = smear(c.rnd, d)
			}
			if err := c.hurt(ctx, im, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// tails lists all cuts behind what was acknowledged.
func (im *image) tails() (out []damage, err error) {
	segments, _, err := im.files()
	if err != nil {
		return nil, err
	}
	for _, seg := range segments {
		b, err := os.ReadFile(filepath.Join(im.dir, seg))
		if err != nil {
			return nil, err
		}
		end, last := 0, false
		for _, p := range batches(b) {
			last = p.id.Stream.Epoch == im.oracle.epoch
			if _, ok := im.oracle.acked[p.id]; ok {
				end = p.end
			}
		}
		if !last || end == 0 {
			continue
		}
		for at := end; at <= len(b); at++ {
			out = append(out, damage{what: fmt.Sprintf("cut at %d", at), file: seg, do: func(b []byte) []byte { return b[:at] }})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("nothing stands behind the last acknowledged batch")
	}
	return out, nil
}

// smear puts zeros or noise behind a cut.
func smear(rnd *rand.Rand, d damage) damage {
	n, zero, seed := 1+rnd.IntN(2000), rnd.IntN(2) == 0, rnd.Uint64()
	cut := d.do
	d.what += fmt.Sprintf(" and %d bytes behind it, zero %v", n, zero)
	d.do = func(b []byte) []byte {
		tail := make([]byte, n)
		if !zero {
			garble(tail, seed)
		}
		return append(slices.Clone(cut(b)), tail...)
	}
	return d
}

func garble(b []byte, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 5))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// flip damages bytes anywhere in any file: flips, cuts, noise, bytes gone or come in.
func (c *crash) flip(ctx context.Context) error {
	return c.rot(ctx, c.flips, func(size int, file string) (out []damage) {
		for at := range size {
			out = append(out,
				damage{fmt.Sprintf("bit at %d", at), file, func(b []byte) []byte { b[at] ^= 1 << (at % 8); return b }},
				damage{fmt.Sprintf("cut at %d", at), file, func(b []byte) []byte { return b[:at] }})
		}
		return out
	})
}

// zero puts zeros in place of tails, whole files and sectors, or behind the end.
func (c *crash) zero(ctx context.Context) error {
	return c.rot(ctx, c.zeros, func(size int, file string) (out []damage) {
		for n := 1; n <= size; n++ {
			out = append(out, damage{fmt.Sprintf("last %d zeroed", n), file, func(b []byte) []byte { clear(b[len(b)-n:]); return b }})
		}
		return append(out, damage{"emptied", file, func([]byte) []byte { return nil }})
	})
}

// rot damages image after image: each place once, or as many random ones as
// wanted.
func (c *crash) rot(ctx context.Context, random func(*image) (damage, error), places func(size int, file string) []damage) error {
	spec := smallImage()
	if c.cfg.Runs == 0 {
		spec.Batches, spec.Max, spec.Chunk, spec.Commit = 8, 120, 4<<10, 1<<10
	}
	for first := true; first || c.res.Runs < c.cfg.Runs; first = false {
		im, err := c.makeImage(ctx, spec, c.rnd.IntN(3) == 0)
		if err != nil {
			return err
		}
		if c.cfg.Runs == 0 {
			return c.everywhere(ctx, im, places)
		}
		for i := 0; i < imageRuns && c.res.Runs < c.cfg.Runs; i++ {
			d, err := random(im)
			if err != nil {
				return err
			}
			if err := c.hurt(ctx, im, d); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *crash) everywhere(ctx context.Context, im *image, places func(size int, file string) []damage) error {
	segments, state, err := im.files()
	if err != nil {
		return err
	}
	for _, f := range slices.Concat(segments, state) {
		st, err := os.Stat(filepath.Join(im.dir, f))
		if err != nil {
			return err
		}
		for _, d := range places(int(st.Size()), f) {
			if err := c.hurt(ctx, im, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// pick chooses a file, nine times of ten a segment.
func (c *crash) pick(im *image) (file string, size int, err error) {
	segments, state, err := im.files()
	if err != nil {
		return "", 0, err
	}
	for range 100 {
		from := segments
		if c.rnd.IntN(10) == 0 {
			from = state
		}
		file = from[c.rnd.IntN(len(from))]
		st, err := os.Stat(filepath.Join(im.dir, file))
		if err != nil {
			return "", 0, err
		}
		if st.Size() > 0 {
			return file, int(st.Size()), nil
		}
	}
	return "", 0, fmt.Errorf("no file holds anything")
}

func (c *crash) flips(im *image) (damage, error) {
	file, size, err := c.pick(im)
	if err != nil {
		return damage{}, err
	}
	at, n, seed := c.rnd.IntN(size), 1+c.rnd.IntN(600), c.rnd.Uint64()
	kind := c.rnd.IntN(6)
	d := damage{what: fmt.Sprintf("flip kind %d at %d, %d bytes, seed %d", kind, at, n, seed), file: file}
	d.do = func(b []byte) []byte {
		end := min(len(b), at+n)
		switch kind {
		case 0:
			return b[:at]
		case 1:
			b[at] ^= byte(1 + seed%255)
		case 2: // several single bytes
			r := rand.New(rand.NewPCG(seed, 6))
			for range 2 + r.IntN(8) {
				b[r.IntN(len(b))] ^= byte(1 + r.IntN(255))
			}
		case 3:
			garble(b[at:end], seed)
		case 4:
			return slices.Delete(b, at, end)
		case 5:
			in := make([]byte, n)
			garble(in, seed)
			return slices.Insert(b, at, in...)
		}
		return b
	}
	return d, nil
}

func (c *crash) zeros(im *image) (damage, error) {
	file, size, err := c.pick(im)
	if err != nil {
		return damage{}, err
	}
	at, n := c.rnd.IntN(size), 1+c.rnd.IntN(600)
	kind := c.rnd.IntN(5)
	d := damage{what: fmt.Sprintf("zero kind %d at %d, %d bytes", kind, at, n), file: file}
	d.do = func(b []byte) []byte {
		switch kind {
		case 0: // tail
			clear(b[at:])
		case 1: // whole file
			clear(b)
		case 2: // emptied
			return nil
		case 3: // sectors
			clear(b[at/512*512 : min(len(b), (at+n+511)/512*512)])
		case 4: // behind the end
			return append(b, make([]byte, n*64)...)
		}
		return b
	}
	return d, nil
}
