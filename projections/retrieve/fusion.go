package retrieve

import (
	"math"
	"slices"
	"strings"

	"varve/projections/vector"
)

// list is the ranking that one search gave, best first.
type list struct {
	weight float64
	hits   []vector.Hit
}

// fused is a document with its score over all lists.
type fused struct {
	hit   vector.Hit
	score float32
	found []found // in the order of the lists
}

// found is where one search saw a document.
type found struct {
	search int
	rank   int // from 1
	score  float32
	part   float64 // what it contributed to the fused score
}

// Fusion strategies.
const (
	fuseRaw      = "raw" // one list, its scores as they are
	fuseRRF      = "rrf"
	fuseDBSF     = "dbsf"
	fuseWeighted = "weighted"
	fuseMax      = "max"
)

// fuse merges lists into one ranking, by score and, where scores are equal, by
// document id. With w the search's weight, s the score and r the rank (from 1) of
// a document in a list:
//
//   - raw: s of the only list;
//   - rrf: Σ w / (k + r) (Cormack, Clarke, Büttcher 2009);
//   - dbsf: Σ w · (s − (μ − 3σ)) / 6σ, μ and σ (of the sample) of the list's scores,
//     0.5 where the list has no spread;
//   - weighted: Σ w · n, max: the largest w · n, where n is s, or for min_max
//     (s − min) / (max − min) over the list, 1 where the list has no spread.
//
// A document that a list does not have gets nothing from it. Sums run in the
// order of the lists in float64, each product rounded, and are rounded to float32
// before they are compared.
func fuse(lists []list, strategy, normalization string, k int) []fused {
	most := 0
	for _, l := range lists {
		most += len(l.hits)
	}
	all := make([]fused, 0, most)
	index := make(map[string]int, most)
	for i, l := range lists {
		parts := contributions(l, strategy, normalization, k)
		for j, h := range l.hits {
			at, seen := index[h.ID]
			if !seen {
				at = len(all)
				index[h.ID] = at
				all = append(all, fused{hit: h})
			}
			all[at].found = append(all[at].found, found{i, j + 1, h.Score, parts[j]})
		}
	}
	for i := range all {
		f := &all[i]
		total := 0.0
		for j, p := range f.found {
			switch {
			case strategy != fuseMax:
				total += p.part
			case j == 0 || p.part > total:
				total = p.part
			}
		}
		f.score = float32(total)
	}
	slices.SortFunc(all, func(a, b fused) int {
		if c := byScore(a.score, b.score); c != 0 {
			return c
		}
		return strings.Compare(a.hit.ID, b.hit.ID)
	})
	return all
}

// byScore orders scores, the highest first.
func byScore(a, b float32) int {
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return 0
}

func contributions(l list, strategy, normalization string, k int) []float64 {
	parts := make([]float64, len(l.hits))
	switch strategy {
	case fuseRaw:
		for i, h := range l.hits {
			parts[i] = float64(h.Score)
		}
	case fuseRRF:
		for i := range l.hits {
			parts[i] = l.weight / float64(k+i+1)
		}
	case fuseDBSF:
		mean, deviation := spread(l.hits)
		for i, h := range l.hits {
			n := 0.5
			if deviation > 0 {
				low := mean - float64(3*deviation)
				n = (float64(h.Score) - low) / float64(6*deviation)
			}
			parts[i] = float64(l.weight * n)
		}
	default:
		low, high := extremes(l.hits)
		for i, h := range l.hits {
			n := float64(h.Score)
			if normalization == "min_max" {
				n = 1
				if high > low {
					n = (float64(h.Score) - low) / (high - low)
				}
			}
			parts[i] = float64(l.weight * n)
		}
	}
	return parts
}

// spread gives mean and sample standard deviation.
func spread(hits []vector.Hit) (mean, deviation float64) {
	n := float64(len(hits))
	if n < 2 {
		return 0, 0
	}
	for _, h := range hits {
		mean += float64(h.Score)
	}
	mean /= n
	sum := 0.0
	for _, h := range hits {
		d := float64(h.Score) - mean
		sum += float64(d * d)
	}
	return mean, math.Sqrt(sum / (n - 1))
}

func extremes(hits []vector.Hit) (low, high float64) {
	for i, h := range hits {
		s := float64(h.Score)
		if i == 0 || s < low {
			low = s
		}
		if i == 0 || s > high {
			high = s
		}
	}
	return low, high
}
