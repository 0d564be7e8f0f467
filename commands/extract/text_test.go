package extract

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"varve/domain"
)

func raw(s string) json.RawMessage { return json.RawMessage(s) }

// payloads shows outputs' payloads as one JSON text each.
func payloads(outputs []Output) []string {
	var all []string
	for i, o := range outputs {
		if o.Ordinal != i {
			all = append(all, "ordinals are not 0, 1, 2, …")
		}
		b, err := json.Marshal(o.Payload)
		if err != nil {
			all = append(all, err.Error())
			continue
		}
		all = append(all, string(b))
	}
	return all
}

func TestTextExtractor(t *testing.T) {
	for _, c := range []struct {
		name string
		in   Input
		want []string
	}{
		{"a field called text", Input{Fields: map[string]json.RawMessage{"text": raw(`"a b"`), "title": raw(`"t"`)}}, []string{`{"text":"a b"}`}},
		{"inputs are joined in order, empty ones left out",
			Input{Values: []Value{{Key: "text", JSON: raw(`"one"`)}, {Key: "x", JSON: raw(`null`)}, {Key: "text", JSON: raw(`" "`)}, {Key: "a", Bytes: []byte("\ufefftwo")}}},
			[]string{`{"text":"one\n\ntwo"}`}},
		{"numbers, truth values and lists", Input{Values: []Value{{Key: "n", JSON: raw(`1.50`)}, {Key: "l", JSON: raw(`["a",true,2]`)}}}, []string{`{"text":"1.50\n\na\ntrue\n2"}`}},
		{"chunks", Input{Params: raw(`{"split_by":"words","chunk_size":2,"chunk_overlap":1}`), Values: []Value{{Key: "text", JSON: raw(`"one two three"`)}}},
			[]string{`{"chunk_end":7,"chunk_index":0,"chunk_start":0,"text":"one two"}`, `{"chunk_end":13,"chunk_index":1,"chunk_start":4,"text":"two three"}`}},
		{"overlap means nothing without splitting", Input{Params: raw(`{"chunk_size":1,"chunk_overlap":9}`), Values: []Value{{Key: "text", JSON: raw(`"ab"`)}}}, []string{`{"text":"ab"}`}},
	} {
		outputs, err := lookup(t, "text_extractor").Extract(context.Background(), c.in)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if d := cmp.Diff(c.want, payloads(outputs)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestTextFeatures(t *testing.T) {
	extract := func(s string) []domain.Feature {
		t.Helper()
		outputs, err := lookup(t, "text_extractor").Extract(context.Background(), Input{Values: []Value{{Key: "text", Bytes: []byte(s)}}})
		if err != nil {
			t.Fatal(err)
		}
		return outputs[0].Features
	}
	features := extract("the wings of a wing")
	if len(features) != 2 || features[0].URI != "mixpeek://text_extractor@v1/minilm_l6_v2_static_256" || features[1].URI != "mixpeek://text_extractor@v1/bm25" {
		t.Fatalf("features %+v", features)
	}
	norm := 0.0
	for _, x := range features[0].Dense {
		norm += float64(x) * float64(x)
	}
	if len(features[0].Dense) != 256 || math.Abs(norm-1) > 1e-6 {
		t.Errorf("%d dimensions, squared length %v", len(features[0].Dense), norm)
	}
	want := domain.Feature{URI: features[1].URI, Length: 5, Terms: []domain.TermCount{{Term: "a", Count: 1}, {Term: "of", Count: 1}, {Term: "the", Count: 1}, {Term: "wing", Count: 2}}}
	if d := cmp.Diff(want, features[1]); d != "" {
		t.Error(d)
	}
	if features := extract("👍👍"); len(features) != 0 {
		t.Errorf("a text without words has features %+v", features)
	}
	if features := extract("?!"); len(features) != 1 || features[0].Dense == nil {
		t.Errorf("punctuation has a vector only, got %+v", features)
	}
}

// The same input gives the same bytes: a retry writes nothing new.
func TestTextExtractorIsDeterministic(t *testing.T) {
	in := Input{Params: raw(`{"split_by":"sentences","chunk_size":2}`), Values: []Value{{Key: "text", JSON: raw(`"One two. Three four. Five. Six seven."`)}}}
	a, errA := lookup(t, "text_extractor").Extract(context.Background(), in)
	b, errB := lookup(t, "text_extractor").Extract(context.Background(), in)
	if errA != nil || errB != nil || len(a) != 2 {
		t.Fatalf("%d outputs, %v, %v", len(a), errA, errB)
	}
	if d := cmp.Diff(a, b); d != "" {
		t.Error(d)
	}
}

func TestObjectsThatCannotBeExtracted(t *testing.T) {
	vectors := raw(`{"vector_fields":[{"field":"v.x","name":"v","dimensions":2}]}`)
	fields := func(v string) map[string]json.RawMessage { return map[string]json.RawMessage{"v": raw(v)} }
	for _, c := range []struct {
		extractor string
		in        Input
		kind      Kind
		reason    string
	}{
		{"text_extractor", Input{}, Permanent, "no fields"},
		{"text_extractor", Input{Fields: map[string]json.RawMessage{"b": nil, "a": nil}}, Permanent, "the source has a, b"},
		{"text_extractor", Input{Values: []Value{{Key: "text", JSON: raw(`" \n"`)}}}, Permanent, "the text is empty"},
		{"text_extractor", Input{Values: []Value{{Key: "body", JSON: raw(`{"text":"x"}`)}}}, Permanent, `"body.text"`},
		{"text_extractor", Input{Values: []Value{{Key: "list", JSON: raw(`["a",{}]`)}}}, Permanent, `"list[1]"`},
		{"text_extractor", Input{Values: []Value{{Key: "img", Bytes: []byte("\x89PNG\x00"), MimeType: "image/png"}}}, Permanent, "image/png"},
		{"text_extractor", Input{Values: []Value{{Key: "t", Bytes: []byte("\xff")}}}, Permanent, "binary data"},
		{"text_extractor", Input{Values: []Value{{Key: "t", Bytes: []byte(strings.Repeat("x", maxTextBytes+1))}}}, Resource, "64 MiB"},
		{"text_extractor", Input{Params: raw(`{"split_by":"characters","chunk_size":1}`), Values: []Value{{Key: "t", Bytes: []byte(strings.Repeat("x", maxChunks+1))}}}, Resource, "chunk_size"},
		{"text_extractor", Input{Params: raw(`{"chunk_size":0}`)}, Permanent, "feature_extractor.parameters.chunk_size"},
		{"passthrough_extractor", Input{Params: vectors}, Permanent, `"v.x" is missing`},
		{"passthrough_extractor", Input{Params: vectors, Fields: fields(`{"x":null}`)}, Permanent, `"v.x" is missing`},
		{"passthrough_extractor", Input{Params: vectors, Fields: fields(`{"x":[1]}`)}, Permanent, "has 1 numbers; the collection says 2"},
		{"passthrough_extractor", Input{Params: vectors, Fields: fields(`{"x":"1,2"}`)}, Permanent, "must be a list of 2 numbers"},
		{"passthrough_extractor", Input{Params: vectors, Fields: fields(`{"x":[1,null]}`)}, Permanent, "null at 1"},
		{"passthrough_extractor", Input{Params: vectors, Fields: fields(`{"x":[1,1e39]}`)}, Permanent, "32-bit"},
		{"passthrough_extractor", Input{Params: vectors, Fields: fields(`{"x":[0,0]}`)}, Permanent, "all zeros"},
	} {
		_, err := lookup(t, c.extractor).Extract(context.Background(), c.in)
		var e *Error
		if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(e.Reason, c.reason) {
			t.Errorf("%s: %v, want %s with %q", c.extractor, err, c.kind, c.reason)
		}
	}
}

func TestPassthroughExtractor(t *testing.T) {
	fields := map[string]json.RawMessage{"title": raw(`"a"`), "price": raw(`12345678901234567890.10`), "v": raw(`{"x":[1,0.5],"y":1}`), "w.z": raw(`[0,0]`)}
	params := raw(`{"vector_fields":[{"field":"v.x","name":"first","dimensions":2},{"field":"w.z","name":"second","dimensions":2,"distance":"dot"}]}`)
	e := lookup(t, "passthrough_extractor")
	outputs, err := e.Extract(context.Background(), Input{Params: params, Fields: fields})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{`{"price":12345678901234567890.10,"title":"a","v":{"y":1}}`}, payloads(outputs)); d != "" {
		t.Error(d)
	}
	want := []domain.Feature{{URI: "mixpeek://passthrough_extractor@v1/first", Dense: []float32{1, 0.5}}, {URI: "mixpeek://passthrough_extractor@v1/second", Dense: []float32{0, 0}}}
	if d := cmp.Diff(want, outputs[0].Features); d != "" {
		t.Error(d)
	}
	if len(fields) != 4 || string(fields["v"]) != `{"x":[1,0.5],"y":1}` {
		t.Errorf("the source's fields were changed: %s", encode(fields))
	}
	indexes, err := e.Outputs(params)
	if err != nil || len(indexes) != 2 || indexes[1].Distance != "dot" || indexes[0].Dimensions != 2 {
		t.Errorf("outputs %+v, %v", indexes, err)
	}
	if x, ok := Find(indexes, "embedding"); !ok || x.Name != "first" {
		t.Errorf("embedding means %+v", x)
	}

	outputs, err = e.Extract(context.Background(), Input{Params: raw(`{"preserve_metadata":false}`), Fields: fields})
	if err != nil || len(outputs) != 1 || len(outputs[0].Payload) != 0 || outputs[0].Payload == nil || outputs[0].Features != nil {
		t.Errorf("%+v, %v", outputs, err)
	}
}
