package embedded

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"varve/projections/vector"
)

func TestKernelIsTheScalarOne(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, dims := range []int{1, 31, 32, 33, 64, 256, 768, 4096} {
		stride := strideOf(dims)
		const n = 9
		codes := make([]int8, n*stride)
		for i := range codes {
			codes[i] = int8(r.IntN(255) - 127)
		}
		query := make([]int16, stride)
		for i := range query {
			query[i] = int16(r.IntN(2*2000+1) - 2000)
		}
		for _, entries := range [][]uint32{{}, {0}, {8, 3}, {0, 1, 2, 3, 4, 5, 6, 7, 8}, {5, 5, 5}} {
			want, got := make([]int32, len(entries)), make([]int32, len(entries))
			dotCodesScalar(want, codes, stride, entries, query)
			dotCodes(got, codes, stride, entries, query)
			if !slices.Equal(want, got) {
				t.Errorf("%d dimensions, entries %v: %v, want %v", dims, entries, got, want)
			}
		}
	}
}

// drawVector draws vectors of all scales, sparse ones and ones with outliers.
func drawVector(t *rapid.T, dims int, name string) []float32 {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, name), 1))
	kind, scale := rapid.IntRange(0, 3).Draw(t, name+" kind"), math.Pow(10, rapid.Float64Range(-40, 37).Draw(t, name+" scale"))
	v := make([]float32, dims)
	for i := range v {
		x := r.NormFloat64()
		switch {
		case kind == 1 && r.IntN(10) > 0:
			x = 0
		case kind == 2 && i == dims/2:
			x *= 1000
		case kind == 3:
			x = 1
		}
		v[i] = float32(max(-3e38, min(3e38, x*scale)))
	}
	return v
}

func TestIntervalsHoldTheCosine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SampledFrom([]int{1, 2, 3, 31, 64, 100, 768, 5000}).Draw(t, "dims")
		v, w := drawVector(t, dims, "vector"), drawVector(t, dims, "query")
		cosine, ok := vector.Cosine(w, v)
		if !ok {
			return
		}
		codes, scale, bound := quantize(nil, v, vector.Norm(v))
		q := quantizeQuery(w)
		sums := []int32{0}
		dotCodes(sums, codes, strideOf(dims), []uint32{0}, q.codes)
		total := 0
		for i, c := range q.codes {
			total += int(c) * int(codes[i])
		}
		if int(sums[0]) != total {
			t.Fatalf("the sum %d left its 32 bits: want %d", sums[0], total)
		}
		middle, width := float32(sums[0])*(scale*q.scale), bound*(1+q.bound)+q.bound+slack
		if cosine > middle+width || cosine < middle-width {
			t.Fatalf("cosine %v is not in %v ± %v", cosine, middle, width)
		}
		if dims >= 31 && width > 0.5 {
			t.Fatalf("an interval of ± %v says nothing", width)
		}
	})
}

// The scan over several goroutines and blocks gives what scoring every row gives.
func TestScanIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims, n := rapid.SampledFrom([]int{2, 33, 64}).Draw(t, "dims"), rapid.IntRange(1, 3000).Draw(t, "n")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		spread := rapid.SampledFrom([]float64{1, 0.01, 0.0001}).Draw(t, "spread") // near ones are hard to tell apart
		centre := randomVector(r, dims)
		h := newHead()
		b := &headDense{dims: dims}
		for range n {
			v := slices.Clone(centre)
			for j := range v {
				v[j] += float32(spread * r.NormFloat64())
			}
			norm := vector.Norm(v)
			codes, scale, bound := quantize(b.codes, v, norm)
			b.vectors, b.norms, b.codes, b.scales, b.bounds = append(b.vectors, v...), append(b.norms, norm), codes, append(b.scales, scale), append(b.bounds, bound)
		}
		block := denseBlock{dims: dims, n: n, vectors: b.vectors, norms: b.norms, codes: b.codes, scales: b.scales, bounds: b.bounds}
		entries := make([]uint32, n)
		for i := range entries {
			entries[i] = uint32(i)
			h.all = append(h.all, &headRow{id: string([]byte{byte('a' + i/900), byte('a' + i/30%30), byte('a' + i%30)})})
		}
		p := h.snapshot()
		cut := rapid.IntRange(0, n).Draw(t, "cut")
		whole := roaring.BitmapOf(entries...)
		pieces := []piece{{part: p, block: &block, entries: entries[:cut], n: cut}, {part: p, block: &block, entries: entries[cut:], n: n - cut}}
		if rapid.Bool().Draw(t, "whole") {
			pieces = []piece{newPiece(p, &block, whole)}
		}
		q := quantizeQuery(randomVector(r, dims))
		k := rapid.IntRange(1, 50).Draw(t, "k")
		x := &Index{opts: Options{Workers: rapid.IntRange(1, 4).Draw(t, "workers"), alone: 1}}
		list, err := x.scan(context.Background(), pieces, q, k, n)
		if err != nil {
			t.Fatal(err)
		}
		got, want := top{k: k}, top{k: k}
		rescore(&got, list, q)
		for _, e := range entries {
			score, _ := vector.Cosine(q.vector, block.vector(int(e)))
			want.offer(candidate{p, e, score})
		}
		if g, w := got.result(), want.result(); !slices.Equal(g.Hits, w.Hits) {
			t.Fatalf("%v, want %v", g.Hits, w.Hits)
		}
	})
}

func randomVector(r *rand.Rand, dims int) []float32 {
	v := make([]float32, dims)
	for j := range v {
		v[j] = float32(r.NormFloat64())
	}
	return v
}
