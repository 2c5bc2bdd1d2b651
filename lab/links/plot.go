package links

import (
	"bytes"
	"fmt"
	"time"
)

// Geometry of a plot, in px.
const (
	plotWidth  = 960
	plotRow    = 120
	plotLeft   = 60
	plotTop    = 24
	plotBucket = 100 * time.Millisecond
)

// plot draws the delivery of each link over time, and its capacity behind it, as
// SVG; troubles are shaded, their begins and ends marked.
func (t *trial) plot() []byte {
	var b bytes.Buffer
	n := len(t.specs)
	height := plotTop + n*plotRow + 24
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="14">%s, offset %g s: Mbit/s of IP packets by link; grey: capacity; red: trouble</text>`+"\n", plotLeft, t.which, t.offset)
	span := float64(t.load.EndNS - t.load.StartNS)
	x := func(ns int64) float64 {
		return plotLeft + (plotWidth-plotLeft-10)*float64(ns-t.load.StartNS)/span
	}
	for i := range n {
		t.plotLink(&b, i, x)
	}
	for s := 0; s <= t.seconds; s += 5 {
		at := x(t.load.StartNS + int64(s)*int64(time.Second))
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d s</text>`+"\n", at, height-8, s)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (t *trial) plotLink(b *bytes.Buffer, i int, x func(int64) float64) {
	bottom := float64(plotTop + (i+1)*plotRow - 16)
	var got, could []float64
	most := 1.0
	for at := t.load.StartNS; at+int64(plotBucket) <= t.load.EndNS; at += int64(plotBucket) {
		p, q := t.sampler.at(i, at), t.sampler.at(i, at+int64(plotBucket))
		rate := func(n int64) float64 { return float64(n) * 8 / 1e6 / plotBucket.Seconds() }
		got, could = append(got, rate(q.out-p.out)), append(could, rate(q.capacity-p.capacity))
		most = max(most, got[len(got)-1], could[len(could)-1])
	}
	for k, e := range t.done {
		if e.link != i || e.back {
			continue
		}
		end := e.bootNS
		for _, f := range t.done[k:] {
			if f.link == i && f.back {
				end = f.bootNS
				break
			}
		}
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="#fbb"/>`+"\n", x(e.bootNS), bottom-plotRow+24, max(1.5, x(end)-x(e.bootNS)), plotRow-24)
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" fill="#900">%v</text>`+"\n", x(e.bootNS)+2, bottom-plotRow+34, e.event)
	}
	line := func(v []float64, style string) {
		fmt.Fprintf(b, `<polyline fill="none" %s points="`, style)
		for k, y := range v {
			fmt.Fprintf(b, "%.1f,%.1f ", x(t.load.StartNS+int64(k)*int64(plotBucket)), bottom-y/most*(plotRow-26))
		}
		b.WriteString("\"/>\n")
	}
	line(could, `stroke="#ccc" stroke-width="2"`)
	line(got, `stroke="#06c" stroke-width="1"`)
	fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#888"/>`+"\n", plotLeft, plotWidth-10, bottom, bottom)
	fmt.Fprintf(b, `<text x="4" y="%.1f">wwan%d</text><text x="%d" y="%.1f" text-anchor="end">%.0f</text>`+"\n", bottom-40, i, plotLeft-4, bottom-plotRow+34, most)
}
