package vectortest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"varve/domain"
	"varve/eventstore"
)

// random feeds records in random pages, with acts between them, and asks about
// random positions of what was applied.
func random(t *testing.T, open func(testing.TB) *Backend) {
	rapid.Check(t, func(rt *rapid.T) {
		b, f, applied := open(t), &Feed{}, 0
		acts := slices.Sorted(maps.Keys(b.Acts))
		for _, l := range logs {
			for _, c := range collectionIDs {
				f.SaveCollection(l, c)
			}
		}
		for range rapid.IntRange(1, 6).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 25).Draw(rt, "records") {
				appendRandom(rt, f)
			}
			for applied < len(f.Records) {
				n := rapid.IntRange(1, len(f.Records)-applied).Draw(rt, "page")
				if err := b.Apply(context.Background(), 0, f.Records[applied:applied+n]); err != nil {
					rt.Fatal(err)
				}
				applied += n
				if len(acts) > 0 && rapid.Bool().Draw(rt, "act?") {
					name := rapid.SampledFrom(acts).Draw(rt, "act")
					if done := b.Acts[name](t, b); done < uint64(applied) {
						applied = int(done)
					}
				}
			}
			o := NewOracle(f.Records)
			for range rapid.IntRange(1, 4).Draw(rt, "questions") {
				check(rt2{t, rt}, b, o, randomQuestion(rt, f))
			}
		}
	})
}

// rt2 is a testing.TB that fails the rapid check.
type rt2 struct {
	testing.TB
	rt *rapid.T
}

func (x rt2) Helper()                           { x.rt.Helper() }
func (x rt2) Fatal(args ...any)                 { x.rt.Fatal(args...) }
func (x rt2) Fatalf(format string, args ...any) { x.rt.Fatalf(format, args...) }

var (
	logs          = []eventstore.LogID{"log-a", "log-b"}
	collectionIDs = []string{"col_a", "col_b"}
	words         = []string{"drag", "flow", "lift", "shock", "wave", "wing"}
	colours       = []any{"red", "Red", "green", nil, "5", json.Number("5"), json.Number("5.0"), true, []any{"red", json.Number("7")}, map[string]any{"deep": "red"}, "2024-01-01"}
	numbers       = []any{json.Number("1"), json.Number("2.5"), json.Number("-3"), json.Number("1e2"), json.Number("9007199254740993"), json.Number("9007199254740992"), "12", "x", nil, true}
)

func appendRandom(rt *rapid.T, f *Feed) {
	l := rapid.SampledFrom(logs).Draw(rt, "log")
	id := fmt.Sprintf("doc_%02d", rapid.IntRange(0, 14).Draw(rt, "id"))
	c := rapid.SampledFrom(collectionIDs).Draw(rt, "collection")
	switch rapid.IntRange(0, 19).Draw(rt, "kind") {
	case 0, 1:
		f.Delete(l, id, c)
	case 2:
		f.DeleteCollection(l, c)
		if rapid.Bool().Draw(rt, "anew") {
			f.SaveCollection(l, c)
		}
	case 3:
		f.Append(l, domain.DocumentStream(id), "document.written", nil)
	case 4:
		f.Append(l, "batch-x", "batch.submitted", nil)
	default:
		d := domain.Document{DocumentID: id, CollectionID: c, ConfigVersion: f.ConfigVersion(l), Payload: map[string]json.RawMessage{}}
		if rapid.IntRange(0, 9).Draw(rt, "stale") == 0 {
			d.ConfigVersion = 1
		}
		randomPayload(rt, &d)
		f.WriteDocument(l, d, randomFeatures(rt)...)
	}
}

func randomPayload(rt *rapid.T, d *domain.Document) {
	for _, field := range []struct {
		name   string
		values []any
	}{{"colour", colours}, {"n", numbers}} {
		if rapid.IntRange(0, 3).Draw(rt, "has "+field.name) > 0 {
			d.Payload[field.name] = domain.EncodeValue(rapid.SampledFrom(field.values).Draw(rt, field.name))
		}
	}
	if rapid.Bool().Draw(rt, "has nested") {
		d.Payload["nested"] = domain.EncodeValue(map[string]any{"tag": rapid.SampledFrom(colours).Draw(rt, "tag")})
	}
	if rapid.IntRange(0, 4).Draw(rt, "has text") == 0 {
		d.Payload["text"] = domain.EncodeValue(rapid.StringN(0, 300, 600).Draw(rt, "text"))
	}
}

func randomFeatures(rt *rapid.T) []domain.Feature {
	var features []domain.Feature
	if rapid.IntRange(0, 9).Draw(rt, "has vector") > 0 {
		v := make([]float32, 3)
		for i := range v {
			v[i] = float32(rapid.IntRange(-3, 3).Draw(rt, "component")) / 2
		}
		features = append(features, Vector(v...))
	}
	if rapid.IntRange(0, 9).Draw(rt, "has terms") > 0 {
		features = append(features, Text(rapid.SliceOfN(rapid.SampledFrom(words), 0, 8).Draw(rt, "words")...))
	}
	return features
}

func randomQuestion(rt *rapid.T, f *Feed) question {
	l := rapid.SampledFrom(logs).Draw(rt, "log asked")
	q := question{log: l, position: f.Position(l), k: rapid.IntRange(1, 8).Draw(rt, "k"), query: make([]float32, 3)}
	if rapid.Bool().Draw(rt, "earlier") {
		q.position = rapid.Uint64Range(0, f.Position(l)).Draw(rt, "position")
	}
	for i := range q.query {
		q.query[i] = float32(rapid.IntRange(-3, 3).Draw(rt, "query component"))
	}
	asked := rapid.SliceOfNDistinct(rapid.SampledFrom(words), 1, 4, rapid.ID).Draw(rt, "terms")
	slices.Sort(asked)
	for _, w := range asked {
		q.terms = append(q.terms, domain.TermCount{Term: w, Count: uint32(rapid.IntRange(1, 2).Draw(rt, "count"))})
	}
	if rapid.Bool().Draw(rt, "some collections") {
		q.collections = rapid.SliceOfN(rapid.SampledFrom(append([]string{"col_z"}, collectionIDs...)), 1, 2).Draw(rt, "collections")
	}
	if rapid.IntRange(0, 3).Draw(rt, "filtered") > 0 {
		q.filter = RandomFilter(rt, 3)
	}
	return q
}

// RandomFilter draws a filter over the fields of the suite's documents, all
// operators included.
func RandomFilter(rt *rapid.T, depth int) *domain.Filter {
	if depth > 0 && rapid.IntRange(0, 2).Draw(rt, "node") == 0 {
		list := func(name string) []*domain.Filter {
			var list []*domain.Filter
			for range rapid.IntRange(0, 2).Draw(rt, name) {
				list = append(list, RandomFilter(rt, depth-1))
			}
			return list
		}
		return &domain.Filter{And: list("and"), Or: list("or"), Not: list("not")}
	}
	field := rapid.SampledFrom([]string{"colour", "n", "nested.tag", "nested", "colour.deep", "colour[0]", "text", "missing", "document_id", "collection_id"}).Draw(rt, "field")
	op := rapid.SampledFrom(domain.FilterOps).Draw(rt, "operator")
	var value any = rapid.SampledFrom(slices.Concat(colours, numbers, []any{"col_a", "doc_03", "e"})).Draw(rt, "value")
	switch op {
	case domain.OpIn, domain.OpNin:
		value = rapid.SliceOfN(rapid.SampledFrom(slices.Concat(colours, numbers)), 0, 3).Draw(rt, "values")
	case domain.OpExists, domain.OpIsNull:
		value = rapid.Bool().Draw(rt, "flag")
	}
	f, err := domain.Where(field, op, value)
	if err != nil { // a value that the operator refuses
		f, err = domain.Where(field, domain.OpExists, true)
		if err != nil {
			rt.Fatal(err)
		}
	}
	return f
}
