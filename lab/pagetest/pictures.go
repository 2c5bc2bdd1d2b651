package pagetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"telemetry/sensors/sim"
)

// maxPicture is how large a picture of the README may be, in bytes.
const maxPicture = 200_000.0

// pictureCar drives a longer track, at speeds of a race.
func pictureCar() sim.Config {
	c := wallCar()
	c.LapTime = 45 * time.Second
	return c
}

func pictureSteps() []step {
	return []step{{"open", (*suite).open, nil}, {"pictures", (*suite).pictures, []string{"open"}}}
}

// pictures makes those of the README: the wall while a hole is open, two laps, and a
// phone.
func (s *suite) pictures(context.Context) error {
	if _, err := s.page.Wait(4*time.Minute, "document.querySelectorAll('#laps tr[data-lap]').length >= 3"); err != nil {
		return err
	}
	if err := s.hole(func() error { return s.picture(s.page, "wall") }); err != nil {
		s.l.check("a hole in the picture of the wall", false, "%v", err)
		if err := s.picture(s.page, "wall"); err != nil {
			return err
		}
	}
	for _, c := range []struct {
		name, hash, view string
		look             Look
	}{
		{"laps", "&p=speed;engine_rpm,throttle;g_lat&view=past", "past", desktop.dark()},
		{"phone", "&p=speed;g_lat,g_long", "wall", phone},
	} {
		p, err := s.browser.Open(c.look, false)
		if err != nil {
			return err
		}
		if err = p.Go(s.url + "#car=" + carName + c.hash); err == nil {
			_, err = p.Wait(30*time.Second, shown(c.view))
		}
		if err == nil && c.view == "wall" {
			err = p.moveOn(11 * time.Second) // the plots are full of what is known to the ms
		}
		if err == nil {
			err = s.picture(p, c.name)
		}
		p.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// picture writes docs/img/pitwall-NAME.png, small.
func (s *suite) picture(p *Page, name string) error {
	raw := filepath.Join(s.cfg.Dir, "pitwall-"+name+".png")
	if err := p.Picture(raw, false); err != nil {
		return err
	}
	b, err := os.ReadFile(raw)
	if err != nil {
		return fmt.Errorf("pagetest: picture: %w", err)
	}
	small, err := shrink(b)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.cfg.Pictures, "pitwall-"+name+".png"), small, 0o644); err != nil {
		return fmt.Errorf("pagetest: picture: %w", err)
	}
	s.l.atMost("picture "+name, float64(len(small)), maxPicture, "bytes")
	return nil
}

// shrink writes a picture with the 256 colours that it has most of, every other one
// as the nearest of them: few are lost in a picture of lines and letters.
func shrink(b []byte) ([]byte, error) {
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("pagetest: picture: %w", err)
	}
	r := img.Bounds()
	flat := image.NewNRGBA(r)
	draw.Draw(flat, r, img, r.Min, draw.Src)
	count := map[color.NRGBA]int{}
	for i := 0; i < len(flat.Pix); i += 4 {
		count[pixel(flat.Pix[i:])]++
	}
	most := slices.SortedFunc(maps.Keys(count), func(a, b color.NRGBA) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B), cmp.Compare(a.A, b.A))
	})
	var palette color.Palette
	for _, c := range most[:min(256, len(most))] {
		palette = append(palette, c)
	}
	out, index := image.NewPaletted(r, palette), map[color.NRGBA]uint8{}
	for i := range out.Pix {
		c := pixel(flat.Pix[4*i:])
		k, ok := index[c]
		if !ok {
			k = uint8(palette.Index(c))
			index[c] = k
		}
		out.Pix[i] = k
	}
	var w bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&w, out); err != nil {
		return nil, fmt.Errorf("pagetest: picture: %w", err)
	}
	return w.Bytes(), nil
}

func pixel(p []byte) color.NRGBA { return color.NRGBA{R: p[0], G: p[1], B: p[2], A: p[3]} }
