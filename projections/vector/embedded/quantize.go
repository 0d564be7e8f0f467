package embedded

import (
	"math"

	"varve/projections/vector"
)

// Every vector is kept a second time as int8 codes of its direction, with a
// scale and a bound: unit vector u ≈ scale × codes, and the length of the
// difference is at most the bound. A query's direction w becomes int16 codes in
// the same way. Sums of products of codes are exact integers, and
//
//	|w·u − scale × query scale × sum| ≤ bound + query bound × (1 + bound)
//
// by Cauchy and Schwarz, so a scan over a quarter of the bytes gives every row an
// interval that holds its cosine. Rows whose interval reaches the k-th best are
// scored again by vector.Dot; no other can be among the k best.

// codeBlock is the length of codes that the kernel takes at once.
const codeBlock = 32

func strideOf(dims int) int { return (dims + codeBlock - 1) / codeBlock * codeBlock }

// slack is more than all rounding of the arithmetic on intervals, and of the
// final score to float32, can be.
const slack = 1e-6

// quantize appends a vector's codes, of which there are strideOf(len(v)). The
// bound of a vector without direction is NaN, which is in no interval.
func quantize(codes []int8, v []float32, norm float64) (_ []int8, scale, bound float32) {
	start := len(codes)
	codes = append(codes, make([]int8, strideOf(len(v)))...)
	if norm == 0 {
		return codes, 0, float32(math.NaN())
	}
	largest := 0.0
	for _, x := range v {
		largest = max(largest, math.Abs(float64(x)))
	}
	scale = float32(largest / norm / 127)
	if scale == 0 {
		return codes, 0, 1 // cannot be: the largest component is at least norm/√dims
	}
	rest := 0.0
	for i, x := range v {
		u := float64(x) / norm
		c := max(-127, min(127, math.RoundToEven(u/float64(scale))))
		codes[start+i] = int8(c)
		d := u - float64(float64(scale)*c)
		rest += d * d
	}
	return codes, scale, float32(math.Sqrt(rest)*(1+1e-6)) + slack/4
}

// queryCodes is a query made ready for the scan.
type queryCodes struct {
	vector []float32
	norm   float64
	codes  []int16
	scale  float32
	bound  float32
}

func quantizeQuery(v []float32) queryCodes {
	q := queryCodes{vector: v, norm: vector.Norm(v), codes: make([]int16, strideOf(len(v)))}
	if q.norm == 0 {
		return q
	}
	largest, total := 0.0, 0.0
	for _, x := range v {
		u := math.Abs(float64(x)) / q.norm
		largest, total = max(largest, u), total+u
	}
	// No sum of products with codes of at most 127 may leave an int32.
	most := min(32767, (math.MaxInt32/127*0.999-float64(len(v))/2)*largest/total)
	q.scale = float32(largest / most)
	rest := 0.0
	for i, x := range v {
		u := float64(x) / q.norm
		c := math.RoundToEven(u / float64(q.scale))
		q.codes[i] = int16(c)
		d := u - float64(float64(q.scale)*float64(q.codes[i]))
		rest += d * d
	}
	q.bound = float32(math.Sqrt(rest)*(1+1e-6)) + slack/4
	return q
}

func dotCodesScalar(sums []int32, codes []int8, stride int, entries []uint32, query []int16) {
	for i, e := range entries {
		row := codes[int(e)*stride : (int(e)+1)*stride]
		q := query[:len(row)]
		var s int32
		for j, c := range row {
			s += int32(c) * int32(q[j])
		}
		sums[i] = s
	}
}
