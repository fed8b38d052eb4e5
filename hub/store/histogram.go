package store

import (
	"encoding/binary"
	"errors"
	"math"
)

// histogram counts seconds in buckets whose bounds grow by a factor of 2^(1/8) = 1.0905, those of Prometheus' native
// histograms of schema 3. A quantile is the upper end of its bucket or the largest value, whichever is less: never
// too small and at most 9.1 % too large, from 1 ms to 34 min; what is below counts as 1 ms, and what is above the
// largest value. The horizon of a removal is 30 min.
type histogram struct {
	first  int      // bucket of counts[0]
	counts []uint32 // as few as there are between the least and the largest
	max    float64
}

const (
	perOctave   = 8
	leastBucket = -10 * perOctave  // up to 2^-10 s
	mostBucket  = 11*perOctave + 1 // beyond 2^11 s
	bucketCount = mostBucket - leastBucket + 1
)

func bucketOf(seconds float64) int {
	switch {
	case seconds <= upper(leastBucket):
		return leastBucket
	case seconds > upper(mostBucket-1):
		return mostBucket
	}
	b := int(math.Ceil(math.Log2(seconds) * perOctave))
	if seconds <= upper(b-1) { // rounding of the logarithm, at a bound
		b--
	}
	return b
}

// upper is a bucket's upper end.
func upper(bucket int) float64 { return math.Exp2(float64(bucket) / perOctave) }

func (h *histogram) observe(seconds float64) {
	if math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		return // neither JSON nor SQLite could say it, and one must not make every commit fail
	}
	h.add(bucketOf(seconds), 1)
	h.max = max(h.max, seconds)
}

func (h *histogram) add(bucket int, n uint32) {
	switch {
	case len(h.counts) == 0:
		h.first, h.counts = bucket, make([]uint32, 1, 8)
	case bucket < h.first:
		h.counts = append(make([]uint32, h.first-bucket, h.first-bucket+len(h.counts)), h.counts...)
		h.first = bucket
	}
	for len(h.counts) <= bucket-h.first {
		h.counts = append(h.counts, 0)
	}
	h.counts[bucket-h.first] += n
}

// merge adds o to h.
func (h *histogram) merge(o histogram) {
	for i, n := range o.counts {
		if n > 0 {
			h.add(o.first+i, n)
		}
	}
	h.max = max(h.max, o.max)
}

func (h *histogram) count() (n int) {
	for _, c := range h.counts {
		n += int(c)
	}
	return n
}

// quantile is the smallest value that at least q of all are not above, as precise as the buckets are.
func (h *histogram) quantile(q float64) float64 {
	rank := int(math.Ceil(q * float64(h.count())))
	for i, c := range h.counts {
		if rank -= int(c); rank <= 0 && h.first+i < mostBucket {
			return min(upper(h.first+i), h.max)
		}
	}
	return h.max
}

// bytes is the first bucket and the counts, as varints.
func (h *histogram) bytes() []byte {
	b := binary.AppendVarint(make([]byte, 0, 2+2*len(h.counts)), int64(h.first))
	for _, c := range h.counts {
		b = binary.AppendUvarint(b, uint64(c))
	}
	return b
}

func parseHistogram(b []byte, largest float64) (h histogram, err error) {
	bad := errors.New("decode a histogram: out of range")
	first, n := binary.Varint(b)
	if n <= 0 || first < leastBucket || first > mostBucket {
		return h, &fault{Broken, bad}
	}
	h.first, h.max = int(first), largest
	for b = b[n:]; len(b) > 0; b = b[n:] {
		var c uint64
		if c, n = binary.Uvarint(b); n <= 0 || c > math.MaxUint32 || h.first+len(h.counts) > mostBucket {
			return h, &fault{Broken, bad}
		}
		h.counts = append(h.counts, uint32(c))
	}
	return h, nil
}
