package http

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"varve/domain"
	"varve/projections"
)

// FuzzVectors: whatever a client sends as vectors is refused with the path of
// what is wrong, or becomes features that their records keep as they are.
func FuzzVectors(f *testing.F) {
	for _, s := range []string{`{"mood":[1,-2.5e3]}`, `{"mixpeek://a@v1/b":[0]}`, `{"t":{"terms":{"a":1,"":2},"length":9}}`, `{"x":[1e300]}`, `{"x":[]}`, `[1]`, `{"":[1]}`, `{"a/b c":[1]}`,
		`{"t":{"terms":{"a":4294967295,"b":1}}}`, `{"t":{"terms":{"a":-1}}}`, `null`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !json.Valid([]byte(s)) {
			return
		}
		features, err := vectorsIn(json.RawMessage(s), "text_extractor@v1", "vectors")
		if err != nil {
			if domain.CodeOf(err) != domain.CodeInvalid || !strings.HasPrefix(err.Error(), "vectors") {
				t.Fatalf("%s: %v", s, err)
			}
			return
		}
		for _, feature := range features {
			again, err := domain.DecodeFeature(feature.URI, feature.Encode())
			if err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			if again.URI != feature.URI || !reflect.DeepEqual(again.Dense, feature.Dense) || !reflect.DeepEqual(again.Terms, feature.Terms) || again.Length != feature.Length {
				t.Fatalf("%s: %v came back as %v", s, feature, again)
			}
		}
	})
}

func TestSortsIn(t *testing.T) {
	year := []projections.Sort{{Field: "year", Desc: true}}
	for raw, want := range map[string][]projections.Sort{
		`{"field":"year","direction":"desc"}`:   year,
		`"year:DESC"`:                           year,
		`[{"field":"year","direction":"desc"}]`: year,
		`["year:desc","a.b"]`:                   {{Field: "year", Desc: true}, {Field: "a.b"}},
		`{"field":"year"}`:                      {{Field: "year"}},
		`null`:                                  nil,
		``:                                      nil,
	} {
		got, err := sortsIn(json.RawMessage(raw), "sort")
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v; want %v", raw, got, err, want)
		}
	}
	for _, raw := range []string{`{}`, `""`, `":desc"`, `{"field":"year","direction":"up"}`, `3`, `[3]`, `{"field":3}`} {
		if got, err := sortsIn(json.RawMessage(raw), "sort"); domain.CodeOf(err) != domain.CodeInvalid {
			t.Errorf("%s: %v, %v; want it refused", raw, got, err)
		}
	}
}

func TestExtractorNames(t *testing.T) {
	for id, want := range map[string]string{"text_extractor_v1": "text_extractor@v1", "text_extractor@v2": "text_extractor@v2", "plain": "plain@v1", "a_vector_v3": "a_vector@v3"} {
		if got := extractorNamed(id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}

// TestChainCollections: a path names a collection for every document of the
// chain, or none is told.
func TestChainCollections(t *testing.T) {
	l := domain.Lineage{Path: "bkt_1/col_a/col_b/col_c", Chain: []string{"doc_a", "doc_b"}}
	if a, b := chainCollection(l, 0), chainCollection(l, 1); a != "col_a" || b != "col_b" {
		t.Errorf("%s, %s", a, b)
	}
	l.Path = "bkt_1/col_a"
	if a := chainCollection(l, 0); a != "" {
		t.Errorf("%s is told by a path that does not fit", a)
	}
}
