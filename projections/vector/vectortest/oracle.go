package vectortest

import (
	"encoding/json"
	"math"
	"slices"
	"sort"
	"strings"

	"varve/domain"
	"varve/eventstore"
	"varve/projections/vector"
)

// Oracle answers by brute force what a backend must answer.
type Oracle struct{ versions []version }

type version struct {
	log      eventstore.LogID
	doc      domain.Document
	from, to uint64
	features map[string]domain.Feature
	fields   map[string]any
}

// NewOracle folds records of any logs, each log's in order.
func NewOracle(records []eventstore.Record) *Oracle {
	o := &Oracle{}
	deleted := map[string]uint64{}
	for i := range records {
		o.fold(&records[i], deleted)
	}
	return o
}

func (o *Oracle) fold(r *eventstore.Record, deleted map[string]uint64) {
	if id, ok := strings.CutPrefix(r.Stream, "document-"); ok {
		o.end(r, func(v *version) bool { return v.doc.DocumentID == id })
	}
	if r.Data == nil {
		return
	}
	switch r.Type {
	case "document.written":
		var d domain.Document
		if err := json.Unmarshal(r.Data, &d); err != nil {
			panic(err)
		}
		if deleted[string(r.Log)+"\x00"+d.CollectionID] > d.ConfigVersion {
			return
		}
		v := version{log: r.Log, doc: d, from: r.Position, to: math.MaxUint64, features: map[string]domain.Feature{}, fields: vector.Fields(d)}
		for _, a := range r.Attachments {
			f, err := domain.DecodeFeature(a.Name, a.Bytes)
			if err != nil {
				panic(err)
			}
			v.features[a.Name] = f
		}
		o.versions = append(o.versions, v)
	case "collection.deleted":
		var c domain.CollectionDeleted
		if err := json.Unmarshal(r.Data, &c); err != nil {
			panic(err)
		}
		deleted[string(r.Log)+"\x00"+c.CollectionID] = r.Version
		o.end(r, func(v *version) bool { return v.doc.CollectionID == c.CollectionID })
	}
}

func (o *Oracle) end(r *eventstore.Record, which func(*version) bool) {
	for i := range o.versions {
		if v := &o.versions[i]; v.log == r.Log && v.to == math.MaxUint64 && which(v) {
			v.to = r.Position
		}
	}
}

// selection is what the oracle allows, in order of document ids.
type selection struct{ base, allowed []*version }

func (o *Oracle) selectDocuments(log eventstore.LogID, position uint64, collections []string, filter *domain.Filter) selection {
	var s selection
	for i := range o.versions {
		v := &o.versions[i]
		if v.log != log || v.from > position || v.to <= position {
			continue
		}
		if len(collections) > 0 && !slices.Contains(collections, v.doc.CollectionID) {
			continue
		}
		s.base = append(s.base, v)
		if filter.Match(v.fields) {
			s.allowed = append(s.allowed, v)
		}
	}
	sort.Slice(s.allowed, func(i, j int) bool { return s.allowed[i].doc.DocumentID < s.allowed[j].doc.DocumentID })
	return s
}

// Dense is the answer to a dense search; ok is false where the dimension fits no vector.
func (o *Oracle) dense(s selection, uri string, query []float32, k int) vector.Result {
	var hits []vector.Hit
	for _, v := range s.allowed {
		f, has := v.features[uri]
		if !has || len(f.Dense) != len(query) {
			continue
		}
		if score, ok := vector.Cosine(query, f.Dense); ok {
			hits = append(hits, v.hit(score))
		}
	}
	return best(hits, k)
}

func (o *Oracle) sparse(s selection, uri string, query []domain.TermCount, k int) vector.Result {
	var stats vector.Statistics
	frequency := map[string]uint64{}
	for _, v := range s.base {
		f, has := v.features[uri]
		if !has {
			continue
		}
		stats.Documents++
		stats.Length += uint64(f.Length)
		for _, t := range f.Terms {
			frequency[t.Term]++
		}
	}
	var hits []vector.Hit
	for _, v := range s.allowed {
		score, found := 0.0, false
		for _, q := range query {
			for _, t := range v.features[uri].Terms {
				if t.Term == q.Term {
					score += vector.Term(stats.Weight(q.Count, frequency[t.Term]), t.Count, stats.Saturation(v.features[uri].Length))
					found = true
				}
			}
		}
		if found {
			hits = append(hits, v.hit(float32(score)))
		}
	}
	return best(hits, k)
}

func (v *version) hit(score float32) vector.Hit {
	return vector.Hit{ID: v.doc.DocumentID, Collection: v.doc.CollectionID, Position: v.from, Score: score}
}

func best(hits []vector.Hit, k int) vector.Result {
	sort.Slice(hits, func(i, j int) bool {
		if hits[i].Score != hits[j].Score {
			return hits[i].Score > hits[j].Score
		}
		return hits[i].ID < hits[j].ID
	})
	r := vector.Result{Hits: hits[:min(k, len(hits))], Scored: len(hits)}
	if len(hits) > k && k > 0 {
		r.Cutoff = hits[k-1].Score
	}
	return r
}
