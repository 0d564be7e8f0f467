package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"varve/domain"
	"varve/projections/vector"
	"varve/projections/vector/vectortest"
)

// Allow selects what domain.Filter.Match says, from columns of many values,
// columns of few, fields without a column, and the head.
func TestAllowIsMatch(t *testing.T) {
	documents := map[string]map[string]any{}
	var views []vector.View
	for name, opts := range map[string]Options{"segments": {HeadRows: 150, NoMerge: true}, "head": {}, "one segment": {HeadRows: 1}} {
		x := open(t, t.TempDir(), opts)
		f := variedFeed(400)
		apply(t, x, f)
		if name == "one segment" {
			if err := x.Merge(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		v, err := x.View(context.Background(), "log-a", f.Position("log-a"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(v.Close)
		views = append(views, v)
		for _, r := range f.Records[1:] {
			e, err := domain.DecodeEvent(r.Type, r.Schema, r.Data)
			if err != nil {
				t.Fatal(err)
			}
			d := e.(*domain.DocumentWritten).Document
			documents[d.DocumentID] = vector.Fields(d)
		}
	}
	check := func(t *rapid.T, f *domain.Filter) {
		for _, v := range views {
			set, err := v.Allow(context.Background(), nil, f)
			if err != nil {
				t.Fatal(err)
			}
			for id, doc := range documents {
				if want := f.Match(doc); set.Contains(id) != want {
					t.Fatalf("%v on %s: want %v", f, domain.EncodeValue(doc), want)
				}
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		f := vectortest.RandomFilter(t, 3)
		f.Conditions(func(c *domain.Condition) {
			if rapid.Bool().Draw(t, "other field") {
				field := rapid.SampledFrom([]string{"price", "mixed", "f77", `"a.b"`, "line\nend", "tags", "deep.price", "created"}).Draw(t, "field")
				op := rapid.SampledFrom(domain.FilterOps[:6]).Draw(t, "operator")
				value := rapid.SampledFrom([]any{json.Number("50"), json.Number("12.5"), json.Number("1e2"), json.Number("-0.0"), "50", "b", json.Number("9007199254740993"), "2024-03-01", true}).Draw(t, "value")
				if g, err := domain.Where(field, op, value); err == nil {
					*c = *g.Condition
				}
			}
		})
		check(t, f)
	})
}

// variedFeed has documents with one number of many, mixed kinds, many rare fields,
// arrays, nested objects, times and long texts.
func variedFeed(n int) *vectortest.Feed {
	r := rand.New(rand.NewPCG(7, 8))
	f := &vectortest.Feed{}
	f.SaveCollection("log-a", "col_a")
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	for i := range n {
		payload := map[string]json.RawMessage{
			"price":     json.RawMessage(pick(fmt.Sprint(r.IntN(100)), fmt.Sprintf("%d.%d0", r.IntN(100), r.IntN(10)), fmt.Sprintf("%de-1", r.IntN(1000)), "9007199254740993", "9007199254740992", "-0", "1e400")),
			"mixed":     json.RawMessage(pick(fmt.Sprint(r.IntN(60)), fmt.Sprintf(`"%d"`, r.IntN(60)), "true", "null", `"abc"`, "[1,50]", `{"x":1}`)),
			"tags":      json.RawMessage(pick(`["a","b"]`, `[50,"B"]`, `[]`, `[[50]]`)),
			"deep":      json.RawMessage(fmt.Sprintf(`{"price":%d,"list":[{"x":%d}]}`, r.IntN(100), i)),
			"line\nend": json.RawMessage("50"),
			"a.b":       json.RawMessage(pick("50", `"b"`)),
		}
		payload[fmt.Sprintf("f%d", r.IntN(200))] = json.RawMessage("50") // more fields than are tracked
		if r.IntN(2) == 0 {
			payload["created"] = json.RawMessage(fmt.Sprintf(`"2024-%02d-01"`, 1+r.IntN(12)))
		}
		if r.IntN(3) == 0 {
			payload["text"] = domain.EncodeValue(fmt.Sprintf("%0200d", i))
		}
		f.WriteDocument("log-a", domain.Document{DocumentID: fmt.Sprintf("doc_%03d", i), CollectionID: "col_a", ConfigVersion: 1, Payload: payload,
			Metadata: json.RawMessage(`{"n":1}`), Lineage: domain.Lineage{SourceType: "bucket", RootObjectID: fmt.Sprint("obj_", i/2)}})
	}
	return f
}
