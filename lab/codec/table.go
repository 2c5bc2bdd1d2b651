package codec

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteTable writes results for people, with each size in relation to that of
// Pco where it was measured.
func WriteTable(w io.Writer, results []Result) error {
	pco := map[int]*float64{}
	for _, r := range results {
		if r.Subject == "pco8" {
			pco[r.N] = r.BitsPerSample
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "file\tn\tsubject\tbits/sample\tof pco8\tin batches\tencode M/s\tdecode M/s\tlossless\t")
	for _, r := range results {
		share := "-"
		if p := pco[r.N]; p != nil && r.BitsPerSample != nil && *p > 0 {
			share = fmt.Sprintf("%.3f", *r.BitsPerSample / *p)
		}
		lossless := "-"
		if r.Lossless != nil {
			lossless = fmt.Sprint(*r.Lossless)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.File, r.N, r.Subject,
			figure(r.BitsPerSample, 3), share, figure(r.BatchBits, 3), figure(r.EncodeMSps, 1), figure(r.DecodeMSps, 1), lossless)
	}
	return t.Flush()
}

func figure(v *float64, digits int) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.*f", digits, *v)
}
