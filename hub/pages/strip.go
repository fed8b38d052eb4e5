package pages

import (
	"fmt"
	"math"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// strip is the distribution of thousands of places over time. A cell's darkness says its order of magnitude and
// its height the square root of its count, so that a single late place can be seen beside a thousand.
type strip struct {
	Cells []bar
	Total string
	Note  string // what of it is worth a number
	Desc  string
}

const (
	stripHeight = 56  // px
	maxCells    = 240 // more would be narrower than a pixel on a phone
)

func newStrip(st report.Strip, s scale, within99 *float64) *strip {
	by := max(1, (len(st.Counts)+maxCells-1)/maxCells)
	counts := make([]int, (len(st.Counts)+by-1)/by)
	total, most := 0, 0
	for i, n := range st.Counts {
		total += n
		counts[i/by] += n
		most = max(most, counts[i/by])
	}
	width := st.Width * float64(by)
	out := &strip{}
	for i, n := range counts {
		if n <= 0 {
			continue
		}
		from, to := float64(i)*width, float64(i+1)*width
		h := max(3, int(math.Round(math.Sqrt(float64(n)/float64(most))*(stripHeight-6))))
		x := s.at(from)
		out.Cells = append(out.Cells, bar{
			Class: fmt.Sprintf("heat%d", magnitude(n)), X: x, W: s.at(to) - x, Y: stripHeight - h, H: h,
			Pieces: report.Plural(n, "place") + " let go in " + report.Span{Lo: from, Hi: to}.String(),
		})
	}
	out.Total = report.Count(total)
	out.Note = "half by " + report.Seconds(halfBy(st, total))
	out.Desc = report.Plural(total, "place") + " over time: " + out.Note
	if within99 != nil {
		out.Desc += ", 99 % by " + report.Seconds(*within99)
	}
	return out
}

// magnitude is 1 for 1 to 9, 2 for 10 to 99, 3 for 100 to 999, 4 for more.
func magnitude(n int) int {
	return min(4, 1+int(math.Log10(float64(n))+1e-9))
}

// halfBy is by when half of the places had let go.
func halfBy(st report.Strip, total int) float64 {
	below := 0
	for i, n := range st.Counts {
		if below += n; 2*below >= total {
			return float64(i+1) * st.Width
		}
	}
	return 0
}
