package embedded

import (
	"slices"

	"varve/projections/vector"
)

// top keeps the k best hits: highest score first, equal scores by document id.
type top struct {
	k      int
	scored int
	heap   []candidate // the worst on top
}

type candidate struct {
	part  part
	row   uint32
	score float32
}

func (t *top) worse(a, b candidate) bool {
	if a.score != b.score {
		return a.score < b.score
	}
	return a.part.id(a.row) > b.part.id(b.row)
}

// offer takes a candidate that is counted in scored.
func (t *top) offer(c candidate) {
	if len(t.heap) < t.k {
		t.heap = append(t.heap, c)
		for i := len(t.heap) - 1; i > 0; {
			up := (i - 1) / 2
			if !t.worse(t.heap[i], t.heap[up]) {
				break
			}
			t.heap[i], t.heap[up] = t.heap[up], t.heap[i]
			i = up
		}
		return
	}
	if t.k <= 0 || c.score < t.heap[0].score || !t.worse(t.heap[0], c) {
		return
	}
	t.heap[0] = c
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(t.heap); child++ {
			if t.worse(t.heap[child], t.heap[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		t.heap[i], t.heap[least] = t.heap[least], t.heap[i]
		i = least
	}
}

func (t *top) result() vector.Result {
	slices.SortFunc(t.heap, func(a, b candidate) int {
		if t.worse(b, a) {
			return -1
		}
		return 1
	})
	r := vector.Result{Hits: make([]vector.Hit, 0, len(t.heap)), Scored: t.scored, Plan: "exact"}
	for _, c := range t.heap {
		r.Hits = append(r.Hits, hit(c.part, c.row, c.score))
	}
	if n := len(r.Hits); n > 0 && t.scored > n {
		r.Cutoff = r.Hits[n-1].Score
	}
	return r
}
