package sim

import "math"

// trackPoints is the number of points of a centre line: about 1 m apart.
const trackPoints = 4096

// track is a closed line. Points are equally far apart.
type track struct {
	length     float64   // m
	x, y, z    []float64 // m east, north, up
	curvature  []float64 // 1/m, left positive
	heading    []float64 // rad, from north, clockwise, not reduced
	crest      []float64 // vertical curvature, 1/m, up positive
	lat0, lon0 float64   // of the origin, degrees
}

// harmonics bound how sharp corners are: a loop with eleven waves has about as
// many corners as a circuit.
const harmonics = 11

// newTrack draws a loop around the origin: a circle with waves of random size,
// which is closed and never crosses itself, with the given length.
func newTrack(seed uint64, length float64) *track {
	var size, shift [harmonics + 1]float64
	for k := 2; k <= harmonics; k++ {
		size[k] = 0.30 / math.Pow(float64(k), 0.78) * (0.35 + 0.65*unit(seed, uint64(k)))
		shift[k] = 2 * math.Pi * unit(seed, uint64(100+k))
	}
	radius := func(a float64) float64 {
		r := 1.0
		for k := 2; k <= harmonics; k++ {
			r += size[k] * math.Cos(float64(k)*a+shift[k])
		}
		return math.Max(r, 0.15)
	}
	const fine = 8 * trackPoints
	xs, ys := make([]float64, fine+1), make([]float64, fine+1)
	along := make([]float64, fine+1)
	for i := range xs {
		a := 2 * math.Pi * float64(i%fine) / fine
		r := radius(a)
		xs[i], ys[i] = r*math.Cos(a), r*math.Sin(a)
		if i > 0 {
			along[i] = along[i-1] + math.Hypot(xs[i]-xs[i-1], ys[i]-ys[i-1])
		}
	}
	t := &track{
		length: length, x: make([]float64, trackPoints), y: make([]float64, trackPoints),
		lat0: 36 + 16*unit(seed, 1), lon0: -4 + 24*unit(seed, 2),
	}
	scale := length / along[fine]
	for i, j := 0, 0; i < trackPoints; i++ {
		at := along[fine] * float64(i) / trackPoints
		for along[j+1] < at {
			j++
		}
		f := (at - along[j]) / (along[j+1] - along[j])
		t.x[i] = scale * (xs[j] + f*(xs[j+1]-xs[j]))
		t.y[i] = scale * (ys[j] + f*(ys[j+1]-ys[j]))
	}
	t.bend()
	t.climb(seed)
	return t
}

// bend computes headings and curvature. The chord spans a few metres, which
// smooths as a driver's line does.
func (t *track) bend() {
	const reach = 4
	t.heading, t.curvature = make([]float64, trackPoints), make([]float64, trackPoints)
	for i := range t.heading {
		a, b := (i+trackPoints-reach)%trackPoints, (i+reach)%trackPoints
		t.heading[i] = math.Atan2(t.x[b]-t.x[a], t.y[b]-t.y[a])
	}
	step := t.length / trackPoints
	for i := range t.curvature {
		a, b := (i+trackPoints-reach)%trackPoints, (i+reach)%trackPoints
		turn := math.Remainder(t.heading[b]-t.heading[a], 2*math.Pi)
		t.curvature[i] = -turn / (2 * reach * step)
	}
	t.curvature = smooth(t.curvature, 12)
}

// climb draws hills: a few waves that close over a lap.
func (t *track) climb(seed uint64) {
	t.z, t.crest = make([]float64, trackPoints), make([]float64, trackPoints)
	for i := range t.z {
		for k := 1; k <= 5; k++ {
			w := 2 * math.Pi * float64(k) / t.length
			a := w*t.length*float64(i)/trackPoints + 2*math.Pi*unit(seed, uint64(200+k))
			size := t.length / 400 / float64(k*k) * (0.4 + 0.6*unit(seed, uint64(300+k)))
			t.z[i] += size * math.Sin(a)
			t.crest[i] += -size * w * w * math.Sin(a)
		}
	}
}

// scaled returns a track of the same shape that is f times as long.
func (t *track) scaled(f float64) *track {
	times := func(v []float64, f float64) []float64 {
		out := make([]float64, len(v))
		for i := range v {
			out[i] = v[i] * f
		}
		return out
	}
	return &track{
		length: t.length * f, x: times(t.x, f), y: times(t.y, f), z: times(t.z, f),
		curvature: times(t.curvature, 1/f), crest: times(t.crest, 1/f),
		heading: t.heading, lat0: t.lat0, lon0: t.lon0,
	}
}

// smooth returns the running mean over 2*reach+1 points of a closed line.
func smooth(v []float64, reach int) []float64 {
	n := len(v)
	out := make([]float64, n)
	sum := 0.0
	for k := -reach; k <= reach; k++ {
		sum += v[(k+n)%n]
	}
	for i := range out {
		out[i] = sum / float64(2*reach+1)
		sum += v[(i+reach+1)%n] - v[(i-reach+n)%n]
	}
	return out
}

// metresPerDegree of latitude, on a sphere.
const metresPerDegree = 111_194.93

// position returns degrees for metres east and north.
func (t *track) position(x, y float64) (lat, lon float64) {
	return t.lat0 + y/metresPerDegree, t.lon0 + x/(metresPerDegree*math.Cos(t.lat0*math.Pi/180))
}
