package http

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"varve/commands/extract"
	"varve/domain"
)

// namespaceWire is NamespaceModel of the reference. Counts are null where they
// were not looked up.
type namespaceWire struct {
	Object                string                   `json:"object"`
	NamespaceID           string                   `json:"namespace_id"`
	Name                  string                   `json:"namespace_name"`
	NamespaceType         string                   `json:"namespace_type"`
	Scope                 string                   `json:"scope"`
	Description           *string                  `json:"description"`
	Mode                  string                   `json:"mode"`
	FeatureExtractors     []namespaceExtractorWire `json:"feature_extractors"`
	PayloadIndexes        []payloadIndex           `json:"payload_indexes"`
	PayloadIndexCount     int                      `json:"payload_index_count"`
	VectorConfigs         []vectorConfig           `json:"vector_configs"`
	VectorInferenceMap    map[string]string        `json:"vector_inference_map"`
	Infrastructure        json.RawMessage          `json:"infrastructure"`
	AutoCreateIndexes     bool                     `json:"auto_create_indexes"`
	DocumentCount         *int                     `json:"document_count"`
	DocumentCountComplete bool                     `json:"document_count_complete"`
	BucketCount           int                      `json:"bucket_count"`
	CollectionCount       int                      `json:"collection_count"`
	ObjectCount           *int                     `json:"object_count"`
	CloneStatus           *string                  `json:"clone_status"`
	NamespaceReady        bool                     `json:"namespace_ready"`
	CreatedAt             wireTime                 `json:"created_at"`
	UpdatedAt             wireTime                 `json:"updated_at"`
	ExpiresAt             *wireTime                `json:"expires_at"`
	Warned
}

// namespaceExtractorWire is BaseFeatureExtractorModel; the id is in answers only.
type namespaceExtractorWire struct {
	Name    string         `json:"feature_extractor_name" validate:"required"`
	Version string         `json:"version" validate:"required"`
	Params  map[string]any `json:"params"`
	ID      string         `json:"feature_extractor_id"`
}

type payloadIndex struct {
	FieldName   string          `json:"field_name" validate:"required,min=1,max=255"`
	Type        string          `json:"type" validate:"required,oneof=keyword integer float bool geo datetime text uuid"`
	FieldSchema json.RawMessage `json:"field_schema,omitempty"`
	IsProtected bool            `json:"is_protected"`
}

type vectorConfig struct {
	Name      string `json:"name" validate:"required,max=255"`
	Dimension int    `json:"dimension" validate:"required,min=1,max=65536"`
	Metric    string `json:"metric" validate:"omitempty,oneof=cosine dot euclidean"`
}

// protectedIndexes are those that every namespace has.
var protectedIndexes = []payloadIndex{
	{FieldName: "internal_id", Type: "keyword", IsProtected: true}, {FieldName: "namespace_id", Type: "keyword", IsProtected: true},
	{FieldName: "collection_id", Type: "keyword", IsProtected: true}, {FieldName: "document_id", Type: "keyword", IsProtected: true},
	{FieldName: "bucket_id", Type: "keyword", IsProtected: true},
}

func namespaceOut(n domain.Namespace, cfg domain.Config) *namespaceWire {
	w := &namespaceWire{
		Object: "namespace", NamespaceID: n.ID, Name: n.Name, NamespaceType: "standard", Scope: "org", Description: textOrNull(cfg.Description), Mode: cfg.Mode,
		FeatureExtractors: []namespaceExtractorWire{}, VectorConfigs: []vectorConfig{}, VectorInferenceMap: map[string]string{}, Infrastructure: orAbsent(cfg.Infrastructure),
		AutoCreateIndexes: cfg.AutoCreateIndexes, BucketCount: len(cfg.Buckets), CollectionCount: len(cfg.Collections), NamespaceReady: cfg.Version > 0,
		CreatedAt: wireTime(n.CreatedAt), UpdatedAt: wireTime(later(n.UpdatedAt, cfg.Updated.Time)),
	}
	for _, e := range cfg.FeatureExtractors {
		ref := namespaceExtractorWire{Name: e.Name, Version: e.Version, ID: e.Name + "_" + e.Version}
		_ = json.Unmarshal(orNull(e.Params), &ref.Params) // what is not an object is shown as none
		w.FeatureExtractors = append(w.FeatureExtractors, ref)
	}
	var own []payloadIndex
	_ = json.Unmarshal(orNull(cfg.PayloadIndexes), &own)
	w.PayloadIndexes = append(append([]payloadIndex{}, protectedIndexes...), own...)
	w.PayloadIndexCount = len(w.PayloadIndexes)
	_ = json.Unmarshal(orNull(cfg.VectorConfigs), &w.VectorConfigs)
	if cfg.TTLSeconds > 0 {
		at := wireTime(n.CreatedAt.Add(time.Duration(cfg.TTLSeconds) * time.Second))
		w.ExpiresAt = &at
	}
	return w
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// namespaceSettings are the members of a namespace's body that become its settings.
type namespaceSettings struct {
	Description       *string                  `json:"description"`
	FeatureExtractors []namespaceExtractorWire `json:"feature_extractors" validate:"dive"`
	Features          []string                 `json:"features"`
	PayloadIndexes    []payloadIndex           `json:"payload_indexes" validate:"dive"`
	AutoCreateIndexes *bool                    `json:"auto_create_indexes"`
	TTLSeconds        *int                     `json:"ttl_seconds" validate:"omitempty,min=60"`
	Infrastructure    json.RawMessage          `json:"infrastructure"`
}

// check refuses extractors that do not exist and parameters that do not fit.
func (b namespaceSettings) check() ([]domain.ExtractorRef, error) {
	if given(b.Infrastructure) && string(b.Infrastructure) != "{}" {
		// To keep it and not to act on it would promise an authorization that nothing enforces.
		return nil, &domain.Error{Code: domain.CodeUnsupported, Reason: "infrastructure_not_enabled", Message: "infrastructure: this version of Varve has no external authorization or hosting to configure; leave it out"}
	}
	var refs []domain.ExtractorRef
	for i, e := range b.FeatureExtractors {
		at := fmt.Sprintf("feature_extractors[%d]", i)
		ref, err := knownExtractor(at, e.Name, e.Version)
		if err != nil {
			return nil, err
		}
		if e.Params != nil {
			raw, err := json.Marshal(e.Params)
			if err != nil {
				return nil, fmt.Errorf("encode extractor parameters: %w", err)
			}
			ref.Params = raw
		}
		refs = append(refs, ref)
	}
	for i, key := range b.Features {
		name, version := featureKey(key)
		ref, err := knownExtractor(fmt.Sprintf("features[%d]", i), name, version)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// featureKey reads name, name@version or name_version.
func featureKey(key string) (name, version string) {
	if name, version, ok := strings.Cut(key, "@"); ok {
		return name, version
	}
	for _, d := range extract.All() {
		if d.ID == key {
			return d.Name, d.Version
		}
	}
	return key, ""
}

func knownExtractor(path, name, version string) (domain.ExtractorRef, error) {
	e, err := extract.Lookup(name, version)
	if err != nil {
		return domain.ExtractorRef{}, &domain.Error{Code: domain.CodeInvalid, Reason: "feature_extractor_not_found", Message: path + ": " + err.Error(),
			Violations: []domain.Violation{{Path: path, Type: "feature_extractor_not_found", Message: err.Error()}}}
	}
	d := e.Describe()
	return domain.ExtractorRef{Name: d.Name, Version: d.Version}, nil
}

// onto gives settings with what was sent.
func (b namespaceSettings) onto(s domain.NamespaceSettings, refs []domain.ExtractorRef) domain.NamespaceSettings {
	if b.Description != nil {
		s.Description = *b.Description
	}
	if b.FeatureExtractors != nil || b.Features != nil {
		s.FeatureExtractors = refs
	}
	if b.PayloadIndexes != nil {
		s.PayloadIndexes = ownIndexes(b.PayloadIndexes)
	}
	if b.AutoCreateIndexes != nil {
		s.AutoCreateIndexes = *b.AutoCreateIndexes
	}
	if b.TTLSeconds != nil {
		s.TTLSeconds = *b.TTLSeconds
	}
	return s
}

// ownIndexes leaves out the protected ones, which clients send back as they read them.
func ownIndexes(list []payloadIndex) json.RawMessage {
	own := []payloadIndex{}
	for _, x := range list {
		protected := false
		for _, p := range protectedIndexes {
			protected = protected || p.FieldName == x.FieldName
		}
		if !protected {
			x.IsProtected = false
			own = append(own, x)
		}
	}
	raw, err := json.Marshal(own)
	if err != nil {
		return nil // a field_schema that came as JSON is JSON
	}
	return raw
}
