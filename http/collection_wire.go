package http

import (
	"encoding/json"

	"varve/commands/extract"
	"varve/domain"
)

// collectionWire is CollectionResponse of the reference.
type collectionWire struct {
	CollectionID  string            `json:"collection_id"`
	Name          string            `json:"collection_name"`
	Description   *string           `json:"description"`
	InputSchema   json.RawMessage   `json:"input_schema,omitempty"`
	Extractor     extractorWire     `json:"feature_extractor"`
	Source        sourceWire        `json:"source"`
	Lineage       []sourceStep      `json:"source_lineage"`
	IndexMap      map[string]string `json:"index_map"`
	VectorIndexes []vectorIndexWire `json:"vector_indexes"`
	Enabled       bool              `json:"enabled"`
	Metadata      json.RawMessage   `json:"metadata"`
	CreatedAt     wireTime          `json:"created_at"`
	UpdatedAt     wireTime          `json:"updated_at"`
	Lifecycle     string            `json:"lifecycle_state"`
	DocumentCount int               `json:"document_count"`
	SchemaVersion int               `json:"schema_version"`
	Validation    string            `json:"schema_validation"`

	rest map[string]json.RawMessage
}

// MarshalJSON writes the collection with the members that are only kept.
func (w *collectionWire) MarshalJSON() ([]byte, error) {
	type plain collectionWire
	b, err := json.Marshal((*plain)(w))
	if err != nil || len(w.rest) == 0 {
		return b, err
	}
	rest, err := json.Marshal(w.rest)
	if err != nil {
		return nil, err
	}
	return append(append(b[:len(b)-1], ','), rest[1:]...), nil
}

type extractorWire struct {
	Name          string          `json:"feature_extractor_name"`
	Version       string          `json:"version"`
	ID            string          `json:"feature_extractor_id"`
	Params        json.RawMessage `json:"params"`
	Parameters    json.RawMessage `json:"parameters"`
	InputMappings map[string]any  `json:"input_mappings"`
	Passthrough   []passWire      `json:"field_passthrough"`
	IncludeAll    bool            `json:"include_all_source_fields"`
}

type passWire struct {
	SourcePath string          `json:"source_path"`
	TargetPath *string         `json:"target_path"`
	Default    json.RawMessage `json:"default"`
	Required   bool            `json:"required"`
}

type sourceWire struct {
	Type          string          `json:"type"`
	BucketIDs     []string        `json:"bucket_ids,omitempty"`
	CollectionID  string          `json:"collection_id,omitempty"`
	CollectionIDs []string        `json:"collection_ids,omitempty"`
	Filters       json.RawMessage `json:"source_filters,omitempty"`
}

type sourceStep struct {
	Source    map[string]any `json:"source_config"`
	Extractor map[string]any `json:"feature_extractor"`
	Output    map[string]any `json:"output_schema"`
}

type vectorIndexWire struct {
	Name       string         `json:"name"`
	FeatureURI string         `json:"feature_uri"`
	Type       string         `json:"type"`
	Index      map[string]any `json:"index"`
}

// indexesOf lists the features that a collection's documents have.
func indexesOf(k domain.Collection) []extract.VectorIndex {
	x, err := extract.Lookup(k.Extractor.Name, k.Extractor.Version)
	if err != nil {
		return nil
	}
	indexes, err := x.Outputs(k.Extractor.Parameters)
	if err != nil {
		return nil
	}
	return indexes
}

func collectionOut(cfg domain.Config, k domain.Collection, documents int) *collectionWire {
	w := &collectionWire{
		CollectionID: k.CollectionID, Name: k.Name, Description: textOrNull(k.Description), InputSchema: k.InputSchema,
		Extractor: extractorOut(k.Extractor), Enabled: k.Enabled, Metadata: object(k.Metadata), CreatedAt: wireTime(k.Created.Time), UpdatedAt: wireTime(k.Updated.Time),
		Source:   sourceWire{Type: k.Source.Type, BucketIDs: k.Source.BucketIDs, CollectionIDs: k.Source.CollectionIDs},
		IndexMap: map[string]string{}, VectorIndexes: []vectorIndexWire{}, Lineage: []sourceStep{},
		Lifecycle: "active", DocumentCount: documents, SchemaVersion: 1, Validation: "off", rest: k.Rest,
	}
	if k.Source.Filters != nil {
		w.Source.Filters, _ = json.Marshal(map[string]json.RawMessage{"filters": k.Source.Filters})
	}
	if len(k.Source.CollectionIDs) > 0 {
		w.Source.CollectionID = k.Source.CollectionIDs[0]
	}
	for _, x := range indexesOf(k) {
		w.IndexMap[x.Name] = x.FeatureURI
		w.VectorIndexes = append(w.VectorIndexes, vectorIndexWire{Name: x.Name, FeatureURI: x.FeatureURI, Type: x.Type,
			Index: map[string]any{"name": x.Name, "type": x.Type, "dimensions": x.Dimensions, "distance": x.Distance}})
	}
	return w
}

func extractorOut(x domain.ExtractorConfig) extractorWire {
	w := extractorWire{Name: x.Name, Version: x.Version, ID: x.Name + "_" + x.Version, Params: object(x.Parameters), Parameters: withType(x.Name, x.Parameters),
		InputMappings: map[string]any{}, Passthrough: []passWire{}, IncludeAll: x.IncludeAllFields}
	for _, m := range x.InputMappings {
		switch before := w.InputMappings[m.InputKey].(type) {
		case nil:
			w.InputMappings[m.InputKey] = m.Path
		case string:
			w.InputMappings[m.InputKey] = []string{before, m.Path}
		case []string:
			w.InputMappings[m.InputKey] = append(before, m.Path)
		}
	}
	for _, p := range x.FieldPassthrough {
		w.Passthrough = append(w.Passthrough, passWire{p.SourcePath, textOrNull(p.TargetPath), p.Default, p.Required})
	}
	return w
}

// withType adds extractor_type to parameters: clients choose the type of the
// parameters by it.
func withType(name string, params json.RawMessage) json.RawMessage {
	members := map[string]json.RawMessage{}
	if len(params) > 0 {
		_ = json.Unmarshal(params, &members)
	}
	members["extractor_type"], _ = json.Marshal(name)
	b, _ := json.Marshal(members)
	return b
}
