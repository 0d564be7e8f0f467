package retrieve

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// NDCG is the normalized discounted cumulative gain of the first k of a ranking:
// Σ (2^grade − 1) / log2(rank + 1) over the gain of the best order of all judged
// documents. Documents without a grade count 0. It is 0 where nothing is relevant.
func NDCG(ranking []string, grades map[string]int, k int) float64 {
	gains := make([]float64, 0, len(ranking))
	for _, id := range ranking[:min(k, len(ranking))] {
		gains = append(gains, gain(grades[id]))
	}
	ideal := make([]float64, 0, len(grades))
	for _, g := range grades {
		ideal = append(ideal, gain(g))
	}
	slices.SortFunc(ideal, func(a, b float64) int { return cmp.Compare(b, a) })
	best := discounted(ideal[:min(k, len(ideal))])
	if best == 0 {
		return 0
	}
	return discounted(gains) / best
}

func gain(grade int) float64 {
	if grade <= 0 {
		return 0
	}
	return math.Exp2(float64(grade)) - 1
}

func discounted(gains []float64) float64 {
	sum := 0.0
	for i, g := range gains {
		sum += g / math.Log2(float64(i+2))
	}
	return sum
}

// Recall is the share of the relevant documents (grade above 0) among the first k;
// 0 where nothing is relevant.
func Recall(ranking []string, grades map[string]int, k int) float64 {
	relevant, found := 0, 0
	for _, g := range grades {
		if g > 0 {
			relevant++
		}
	}
	if relevant == 0 {
		return 0
	}
	for _, id := range ranking[:min(k, len(ranking))] {
		if grades[id] > 0 {
			found++
		}
	}
	return float64(found) / float64(relevant)
}

// ReciprocalRank is one over the rank of the first relevant document, 0 where
// there is none; its mean over queries is the MRR.
func ReciprocalRank(ranking []string, grades map[string]int) float64 {
	for i, id := range ranking {
		if grades[id] > 0 {
			return 1 / float64(i+1)
		}
	}
	return 0
}

// Judged is the share of the first k that have a grade at all.
func Judged(ranking []string, grades map[string]int, k int) float64 {
	ranking = ranking[:min(k, len(ranking))]
	if len(ranking) == 0 {
		return 0
	}
	n := 0
	for _, id := range ranking {
		if _, ok := grades[id]; ok {
			n++
		}
	}
	return float64(n) / float64(len(ranking))
}

// Mean is the arithmetic mean, 0 of nothing.
func Mean(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// Percentile gives the smallest latency that at least p percent do not exceed
// (nearest rank); 0 of nothing. The list is not changed.
func Percentile(latencies []time.Duration, p float64) time.Duration {
	if len(latencies) == 0 {
		return 0
	}
	sorted := slices.Clone(latencies)
	slices.Sort(sorted)
	n := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(n, 1), len(sorted))-1]
}
