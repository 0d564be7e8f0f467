package retrieve

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
)

// What comes in through inputs is a value wherever it lands: it is never rendered
// a second time, reads no document, and is not refused for looking like a template.
func TestInputsAreNotRenderedAgain(t *testing.T) {
	w := library(t)
	w.put("odd", "col_a", `{"text":"odd flow","note":"{{DOC.document_id}}"}`)
	w.put("secret", "col_a", `{"text":"secret flow","note":"hidden"}`)
	note := stageOf("attribute_filter", `{"field":"note","value":"{{INPUT.x}}"}`)
	conditions := stageOf("attribute_filter", `{"conditions":{"OR":[{"field":"note","value":"{{INPUT.x}}"},{"field":"note","operator":"in","value":["{{INPUT.x}}"]}]}}`)
	whole := searchOf(`{"feature_uri":"bm25","query":"flow","filters":"{{INPUT.f}}"}`)
	searches := stageOf("feature_search", `{"searches":"{{INPUT.s}}"}`)
	negated := `{"config":{"stage_id":"feature_search","pre_filters":{"NOT":[{"note":"{{INPUT.x}}"}]},"parameters":{"searches":[{"feature_uri":"bm25","query":"odd secret"}]}}}`
	for _, tt := range []struct {
		name, inputs string
		stages       []string
		want         []string // nil: the request is refused
	}{
		{"a field's value", `{"x":"{{DOC.document_id}}"}`, []string{note}, []string{"odd"}},
		{"in conditions", `{"x":"{{DOC.document_id}}"}`, []string{conditions}, []string{"odd"}},
		{"in conditions, after a search", `{"x":"{{DOC.document_id}}"}`, []string{searchOf(`{"feature_uri":"bm25","query":"flow"}`), conditions}, []string{"odd"}},
		{"another input", `{"x":"{{INPUT.y}}","y":"hidden"}`, []string{conditions}, []string{}},
		{"the document's own field, before a search", `{"x":"{{DOC.note}}"}`, []string{note, searchOf(`{"feature_uri":"bm25","query":"flow"}`)}, []string{}},
		{"broken", `{"x":"{{"}`, []string{note}, []string{}},
		{"broken, in filters of a stage", `{"x":"{% if %}"}`, []string{negated}, []string{"odd", "secret"}},
		{"an object that looks dynamic", `{"x":{"type":"dynamic","field":"inputs.y"},"y":"hidden"}`, []string{conditions}, []string{}},
		{"a whole filter", `{"f":{"note":"{{DOC.document_id}}"}}`, []string{whole}, []string{"odd"}},
		{"a whole filter that reads the document", `{"f":{"note":"{{DOC.note}}"}}`, []string{whole}, []string{}},
		{"a whole filter that reads an input", `{"f":{"note":"{{INPUT.y}}"},"y":"hidden"}`, []string{whole}, []string{}},
		{"a whole filter with a dynamic value", `{"f":{"note":{"type":"dynamic","field":"inputs.y"}},"y":"hidden"}`, []string{whole}, nil},
		{"a template inside a list of searches", `{"s":[{"feature_uri":"mixpeek://text_extractor@v1/bm25","query":"flow","filters":"{{INPUT.f}}"}],"f":{"note":"hidden"}}`, []string{searches}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, err := w.engine.Execute(context.Background(), w.request(retriever(t, nil, tt.stages...), tt.inputs))
			if tt.want == nil {
				if err == nil {
					t.Errorf("was not refused: %v", ids(x))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(slices.Values(ids(x))); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	x, err := w.engine.Execute(context.Background(), Request{At: w.at(), Config: w.config, Retriever: retriever(t, nil, note), Mode: ModeRetriever, Inputs: json.RawMessage(`{"x":"{{DOC.note}}"}`)})
	if err != nil || x.Header.Stages[0].Plan != "index" || x.Header.Stages[0].Unseen == 0 {
		t.Errorf("an input that looks like a template changed how documents are selected: %v", err)
	}
}
