package retrieve

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"varve/projections/vector"
)

func hits(pairs ...any) []vector.Hit {
	var list []vector.Hit
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, vector.Hit{ID: pairs[i].(string), Score: float32(pairs[i+1].(float64))})
	}
	return list
}

// The numbers are worked out by hand from the formulas that fuse states.
func TestFuse(t *testing.T) {
	words := hits("a", 12.0, "b", 8.0, "c", 4.0)
	meaning := hits("c", 0.9, "a", 0.5, "d", 0.1)
	tests := []struct {
		name, strategy, normalization string
		lists                         []list
		want                          []Scored
	}{
		{"raw keeps scores", fuseRaw, "", []list{{1, words}}, []Scored{{"a", 12}, {"b", 8}, {"c", 4}}},
		{"raw orders equal scores by id", fuseRaw, "", []list{{1, hits("b", 1.0, "a", 1.0)}}, []Scored{{"a", 1}, {"b", 1}}},
		{"rrf", fuseRRF, "", []list{{1, words}, {1, meaning}}, []Scored{
			{"a", 1.0/61 + 1.0/62}, // 0.032522
			{"c", 1.0/63 + 1.0/61}, // 0.032266
			{"b", 1.0 / 62}, {"d", 1.0 / 63}}},
		{"rrf with weights", fuseRRF, "", []list{{0.5, words}, {1, meaning}}, []Scored{
			{"c", 0.5/63 + 1.0/61}, // 0.024330
			{"a", 0.5/61 + 1.0/62}, // 0.024326
			{"d", 1.0 / 63}, {"b", 0.5 / 62}}},
		{"weighted min_max", fuseWeighted, "min_max", []list{{0.25, words}, {0.75, meaning}}, []Scored{
			{"c", 0.75},              // 0.25·0 + 0.75·1
			{"a", 0.25 + 0.75*0.5},   // 0.625
			{"b", 0.125}, {"d", 0}}}, // 0.25·0.5, 0.75·0
		{"weighted raw", fuseWeighted, "raw", []list{{0.5, words}, {1, hits("b", 3.0)}}, []Scored{{"b", 7}, {"a", 6}, {"c", 2}}},
		{"max min_max", fuseMax, "min_max", []list{{0.5, words}, {1, meaning}}, []Scored{{"c", 1}, {"a", 0.5}, {"b", 0.25}, {"d", 0}}},
		{"max raw", fuseMax, "raw", []list{{0.1, words}, {1, meaning}}, []Scored{{"a", 1.2}, {"c", 0.9}, {"b", 0.8}, {"d", 0.1}}},
		// words: mean 8, deviation 4, from -4 to 20; meaning: mean 0.5, deviation 0.4, from -0.7 to 1.7.
		{"dbsf", fuseDBSF, "", []list{{1, words}, {1, meaning}}, []Scored{
			{"a", 16.0/24 + 1.2/2.4}, {"c", 8.0/24 + 1.6/2.4}, {"b", 0.5}, {"d", 0.8 / 2.4}}},
		{"dbsf of one and of equal scores", fuseDBSF, "", []list{{1, hits("a", 7.0)}, {0.5, hits("b", 2.0, "c", 2.0)}}, []Scored{{"a", 0.5}, {"b", 0.25}, {"c", 0.25}}},
		{"min_max of equal scores", fuseWeighted, "min_max", []list{{1, hits("b", 2.0, "a", 2.0)}}, []Scored{{"a", 1}, {"b", 1}}},
		{"negative cosines", fuseMax, "raw", []list{{1, hits("a", -0.25)}, {1, hits("a", -0.5)}}, []Scored{{"a", -0.25}}},
		{"nothing", fuseRRF, "", []list{{1, nil}, {1, nil}}, nil},
		{"an empty list", fuseRRF, "", []list{{1, nil}, {1, hits("a", 1.0)}}, []Scored{{"a", 1.0 / 61}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []Scored
			for _, f := range fuse(tt.lists, tt.strategy, tt.normalization, 60) {
				got = append(got, Scored{f.hit.ID, f.score})
			}
			near := cmp.Comparer(func(a, b float32) bool { return math.Abs(float64(a-b)) < 1e-6 })
			if diff := cmp.Diff(tt.want, got, near); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFuseKeepsWhereDocumentsWereFound(t *testing.T) {
	got := fuse([]list{{1, hits("a", 3.0)}, {0.5, hits("b", 2.0, "a", 1.0)}}, fuseWeighted, "raw", 60)
	want := []found{{0, 1, 3, 3}, {1, 2, 1, 0.5}}
	if diff := cmp.Diff(want, got[0].found, cmp.AllowUnexported(found{})); diff != "" {
		t.Error(diff)
	}
}

// A ranking must not depend on the order in which an index hands over documents of
// equal score beyond their ranks, nor on how many times it is asked.
func TestFuseProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lists := make([]list, rapid.IntRange(1, 4).Draw(t, "lists"))
		for i := range lists {
			lists[i].weight = float64(rapid.IntRange(0, 4).Draw(t, "weight")) / 4
			n := rapid.IntRange(0, 12).Draw(t, "n")
			ids := rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}).Draw(t, "ids")[:n]
			for _, id := range ids {
				lists[i].hits = append(lists[i].hits, vector.Hit{ID: fmt.Sprint("d", id), Score: float32(rapid.IntRange(-2, 2).Draw(t, "score"))})
			}
			slices.SortFunc(lists[i].hits, func(a, b vector.Hit) int {
				if c := byScore(a.Score, b.Score); c != 0 {
					return c
				}
				return compareIDs(a.ID, b.ID)
			})
		}
		strategy := rapid.SampledFrom([]string{fuseRRF, fuseDBSF, fuseWeighted, fuseMax}).Draw(t, "strategy")
		normalization := rapid.SampledFrom([]string{"raw", "min_max"}).Draw(t, "normalization")
		got := fuse(lists, strategy, normalization, 60)
		members := map[string]bool{}
		for _, l := range lists {
			for _, h := range l.hits {
				members[h.ID] = true
			}
		}
		if len(got) != len(members) {
			t.Fatalf("%d documents of %d", len(got), len(members))
		}
		for i := 1; i < len(got); i++ {
			a, b := got[i-1], got[i]
			if b.score > a.score || a.score == b.score && a.hit.ID >= b.hit.ID {
				t.Fatalf("%v before %v", a, b)
			}
		}
		for _, f := range got {
			if math.IsNaN(float64(f.score)) || math.IsInf(float64(f.score), 0) {
				t.Fatalf("score %v of %s", f.score, f.hit.ID)
			}
		}
		// The order of the searches may move sums by rounding only: with scores that
		// are small whole numbers and weights of quarters, raw sums are exact.
		if strategy == fuseMax || strategy == fuseWeighted && normalization == "raw" {
			turned := slices.Clone(lists)
			slices.Reverse(turned)
			again := fuse(turned, strategy, normalization, 60)
			for i := range got {
				if got[i].hit.ID != again[i].hit.ID || got[i].score != again[i].score {
					t.Fatalf("rank %d: %s %v, with the searches turned round %s %v", i+1, got[i].hit.ID, got[i].score, again[i].hit.ID, again[i].score)
				}
			}
		}
	})
}

func compareIDs(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
