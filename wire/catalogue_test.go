package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestCatalogueRoundTrip(t *testing.T) {
	want := sampleCatalogue()
	b := want.Append(nil)
	got, err := ParseCatalogue(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
	}
	if got.Hash() != HashCatalogue(b) || want.Hash() != got.Hash() {
		t.Error("hashes differ")
	}
	want.Groups[0].Channels[0].Offset = math.Copysign(0, -1)
	if want.Hash() == got.Hash() {
		t.Error("another catalogue has the same hash")
	}
	for n := range b {
		if c, err := ParseCatalogue(b[:n]); err == nil {
			t.Fatalf("%d of %d bytes parsed as %+v", n, len(b), c)
		}
	}
	b[0]++
	if _, err := ParseCatalogue(b); !errors.Is(err, ErrVersion) {
		t.Errorf("got %v, want ErrVersion", err)
	}
}

func TestParseCatalogueRefuses(t *testing.T) {
	if testing.Short() {
		t.Skip("long under emulation; nothing in it depends on the machine")
	}
	with := func(fn func(c *Catalogue)) []byte {
		c := sampleCatalogue()
		fn(c)
		return c.Append(nil)
	}
	channel := func(fn func(c *Channel)) []byte {
		return with(func(c *Catalogue) { fn(&c.Groups[0].Channels[0]) })
	}
	cases := []struct {
		name string
		b    []byte
	}{
		{"type 0", channel(func(c *Channel) { c.Type = 0 })},
		{"type 5", channel(func(c *Channel) { c.Type = 5 })},
		{"65 bits", channel(func(c *Channel) { c.Bits = 65 })},
		{"statistic", channel(func(c *Channel) { c.Stat = 5 })},
		{"enum", channel(func(c *Channel) { c.Enum = make([]EnumValue, maxEnum+1) })},
		{"lane", with(func(c *Catalogue) { c.Groups[0].Lane = 0 })},
		{"groups", with(func(c *Catalogue) { c.Groups = slices.Repeat(c.Groups[2:], MaxGroups+1) })},
		{"channels", with(func(c *Catalogue) {
			small := []Channel{{Type: TypeInt}}
			c.Groups[0].Channels = slices.Repeat(small, MaxChannels)
			c.Groups[1].Channels = small
		})},
		{"bytes", make([]byte, MaxCatalogueBytes+1)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ParseCatalogue(c.b); err == nil {
				t.Fatal("parsed")
			}
		})
	}
}

func TestCatalogueTextsAreCut(t *testing.T) {
	c := &Catalogue{Car: "a", Groups: []Group{{Name: strings.Repeat("x", 5000), Lane: LaneFull}}}
	got, err := ParseCatalogue(c.Append(nil))
	if err != nil || len(got.Groups[0].Name) != maxText {
		t.Fatalf("%v", err)
	}
}

func TestCatalogueHashText(t *testing.T) {
	h, err := ParseCatalogueHash(sampleHash.String())
	if err != nil || h != sampleHash || sampleHash.String() != "deadbeef00010203" {
		t.Errorf("%s comes back as %s, %v", sampleHash, h, err)
	}
	for _, s := range []string{"", "deadbeef0001020", "deadbeef000102030", "deadbeef0001020g"} {
		if _, err := ParseCatalogueHash(s); err == nil {
			t.Errorf("%q parsed", s)
		}
	}
}

// largeCatalogue has n channels.
func largeCatalogue(n int) *Catalogue {
	c := &Catalogue{Car: "car"}
	for i := range n / 100 {
		g := Group{Name: fmt.Sprintf("group%d", i), Lane: LaneFull, RateMilliHz: 1_500_000}
		for j := range 100 {
			g.Channels = append(g.Channels, Channel{Name: fmt.Sprintf("channel_%d_%d", i, j), Unit: "V", Type: TypeInt, Scale: 0.001 * float64(i*j)})
		}
		c.Groups = append(c.Groups, g)
	}
	return c
}

// TestSplitAndJoin sends parts in any order, some twice, through their messages.
func TestSplitAndJoin(t *testing.T) {
	canonical := largeCatalogue(5000).Append(nil)
	rng := rand.New(rand.NewPCG(1, 7))
	var j CatalogueJoiner
	for _, size := range []int{100, 1000, MaxPartBytes} {
		parts, err := SplitCatalogue(canonical, size)
		if err != nil {
			t.Fatal(err)
		}
		half := len(parts) / 2
		for _, i := range rng.Perm(len(parts))[:half] { // left half way
			if _, done, err := j.Add(&parts[i]); done || err != nil {
				t.Fatalf("done %v, %v", done, err)
			}
		}
		order := append(rng.Perm(len(parts)), rng.Perm(len(parts))...)
		finished := false
		for _, i := range order {
			p, err := ParseCataloguePart(AppendCataloguePart(nil, &parts[i]))
			if err != nil || len(p.Data) > size {
				t.Fatalf("%d bytes, %v", len(p.Data), err)
			}
			got, done, err := j.Add(p)
			if err != nil {
				t.Fatal(err)
			}
			clear(p.Data) // Add must have copied
			if done {
				finished = true
				if !bytes.Equal(got, canonical) {
					t.Fatal("other bytes came back")
				}
				break
			}
		}
		if !finished {
			t.Fatalf("parts of %d bytes: not done", size)
		}
	}
}

func TestJoinerRefuses(t *testing.T) {
	canonical := sampleCatalogue().Append(nil)
	parts, err := SplitCatalogue(canonical, 50)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("damaged", func(t *testing.T) {
		var j CatalogueJoiner
		var last error
		for i := range parts {
			p := parts[i]
			if i == 1 {
				p.Data = make([]byte, len(p.Data))
			}
			_, _, last = j.Add(&p)
		}
		if last == nil {
			t.Fatal("damaged parts were joined")
		}
		if got, done, err := addAll(&j, parts); err != nil || !done || !bytes.Equal(got, canonical) {
			t.Fatalf("after it: %v, %v", done, err)
		}
	})
	t.Run("another's hash", func(t *testing.T) {
		var j CatalogueJoiner
		var last error
		for _, p := range parts {
			p.Hash = sampleHash
			_, _, last = j.Add(&p)
		}
		if !errors.Is(last, ErrChecksum) {
			t.Fatalf("got %v, want ErrChecksum", last)
		}
	})
	t.Run("too much", func(t *testing.T) {
		var j CatalogueJoiner
		data := make([]byte, MaxPartBytes)
		var last error
		for i := 0; i < 100 && last == nil; i++ {
			_, _, last = j.Add(&CataloguePart{Hash: sampleHash, Index: uint16(i), Count: 100, Data: data})
		}
		if last == nil || j.bytes != 0 {
			t.Fatalf("kept %d bytes, %v", j.bytes, last)
		}
	})
	t.Run("index", func(t *testing.T) {
		var j CatalogueJoiner
		if _, _, err := j.Add(&CataloguePart{Index: 3, Count: 3}); err == nil {
			t.Fatal("part 3 of 3 was taken")
		}
		if _, err := ParseCataloguePart(AppendCataloguePart(nil, &CataloguePart{Index: 3, Count: 3})); err == nil {
			t.Fatal("part 3 of 3 was parsed")
		}
	})
	for _, size := range []int{0, MaxPartBytes + 1} {
		if _, err := SplitCatalogue(canonical, size); err == nil {
			t.Errorf("split into parts of %d bytes", size)
		}
	}
}

func addAll(j *CatalogueJoiner, parts []CataloguePart) (got []byte, done bool, err error) {
	for i := range parts {
		if got, done, err = j.Add(&parts[i]); err != nil || done {
			return got, done, err
		}
	}
	return nil, false, nil
}
