package http

import (
	"encoding/json"
	"strings"
	"testing"

	"varve/commands/extract"
	"varve/domain"
	"varve/projections/retrieve"
)

// TestRetrieversKnowWhatExtractorsGive: commands/extract makes features and
// projections/retrieve searches them, each by a list of its own, since neither imports the other.
func TestRetrieversKnowWhatExtractorsGive(t *testing.T) {
	for _, d := range extract.All() {
		x, err := extract.Lookup(d.Name, d.Version)
		if err != nil {
			t.Fatal(err)
		}
		outputs, err := x.Outputs(nil)
		if err != nil {
			t.Fatal(err)
		}
		config := domain.Config{Collections: map[string]domain.Collection{"col_1": {CollectionID: "col_1", Enabled: true, Extractor: domain.ExtractorConfig{Name: d.Name, Version: d.Version}}}}
		for _, o := range outputs {
			for _, name := range append([]string{o.Name}, o.Aliases...) {
				uri := strings.TrimSuffix(o.FeatureURI, o.Name) + name
				stages, err := retrieve.Normalize("stages", []json.RawMessage{json.RawMessage(`{"stage_name": "search", "stage_type": "filter", "config": {"stage_id": "feature_search",
					"parameters": {"searches": [{"feature_uri": "` + uri + `", "query": {"input_mode": "text", "value": "x"}}]}}}`)})
				if err != nil {
					t.Fatal(err)
				}
				if err := retrieve.Check(config, domain.Retriever{Name: "r", CollectionIDs: []string{"col_1"}, Stages: stages}); err != nil {
					t.Errorf("%s cannot be searched: %v", uri, err)
				}
			}
		}
	}
}
