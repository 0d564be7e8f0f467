package http

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"varve/commands"
	"varve/domain"
)

// documentBody is what a client writes of a document; all further members are
// the user's fields. Members that only answers have are known and ignored, so
// that an answer can be sent back.
type documentBody struct {
	DocumentID         string          `json:"document_id"`
	CollectionID       string          `json:"collection_id"`
	RootObjectID       string          `json:"root_object_id"`
	RootBucketID       string          `json:"root_bucket_id"`
	SourceType         string          `json:"source_type" validate:"omitempty,oneof=bucket collection direct_upsert signal"`
	SourceCollectionID string          `json:"source_collection_id"`
	SourceDocumentID   string          `json:"source_document_id"`
	SourceObjectID     string          `json:"source_object_id"`
	LineagePath        string          `json:"lineage_path"`
	LineageChain       []stepBody      `json:"lineage_chain"`
	ContentHash        string          `json:"content_hash" validate:"max=256"`
	SchemaVersion      json.RawMessage `json:"document_schema_version"`
	Metadata           json.RawMessage `json:"metadata"`
	Features           []featureBody   `json:"features" validate:"max=64"`
	Vectors            json.RawMessage `json:"vectors"`

	Internal   json.RawMessage `json:"_internal"`
	Blobs      json.RawMessage `json:"document_blobs"`
	Searchable json.RawMessage `json:"searchable_at"`
	Incomplete json.RawMessage `json:"vector_hydration_incomplete"`
	Shown      json.RawMessage `json:"_vectors"`
	Expanded   json.RawMessage `json:"_expanded"`
}

type stepBody struct {
	CollectionID string          `json:"collection_id"`
	ExtractorID  string          `json:"feature_extractor_id"`
	DocumentID   string          `json:"document_id"`
	Timestamp    json.RawMessage `json:"timestamp"`
}

type featureBody struct {
	ExtractorID string          `json:"feature_extractor_id" validate:"required"`
	Payload     json.RawMessage `json:"payload"`
	Vectors     json.RawMessage `json:"vectors"`
}

var documentID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$`)

// check looks at what a struct's tags cannot say. path is "" or ends with a dot.
func (b documentBody) check(extra map[string]json.RawMessage, path string) error {
	if given(b.Metadata) {
		if _, err := domain.DecodeObject(b.Metadata); err != nil {
			return domain.Invalid(path+"metadata", "object_type", "must be an object")
		}
	}
	for name, raw := range extra {
		if name == "" || len(name) > 255 {
			return domain.Invalid(path+name, "length", "a field's name has 1 to 255 bytes")
		}
		if _, err := domain.DecodeValue(raw); err != nil {
			return domain.Invalid(path+name, "value", "%v", err)
		}
	}
	return nil
}

// written is what the create command takes. Features are named by the
// collection's extractor where they do not name their own.
func (b documentBody) written(k domain.Collection, extra map[string]json.RawMessage) (commands.WriteDocument, error) {
	d := commands.WriteDocument{DocumentID: b.DocumentID, Payload: extra, Metadata: orAbsent(b.Metadata), ContentHash: b.ContentHash,
		Lineage: domain.Lineage{SourceType: b.SourceType, RootObjectID: b.RootObjectID, RootBucketID: b.RootBucketID, SourceObjectID: b.SourceObjectID,
			SourceDocumentID: b.SourceDocumentID, SourceCollectionID: b.SourceCollectionID, Path: b.LineagePath}}
	if err := b.check(extra, ""); err != nil {
		return d, err
	}
	if b.DocumentID != "" && !documentID.MatchString(b.DocumentID) {
		return d, domain.Invalid("document_id", "pattern", "has 1 to 128 letters, digits, and _ . : - after the first; leave it out and Varve chooses one")
	}
	if b.CollectionID != "" && b.CollectionID != k.CollectionID && b.CollectionID != k.Name {
		return d, domain.Invalid("collection_id", "reference", "is %q, but the path names %q; leave it out", b.CollectionID, k.CollectionID)
	}
	for _, step := range b.LineageChain {
		if step.DocumentID != "" {
			d.Lineage.Chain = append(d.Lineage.Chain, step.DocumentID)
		}
	}
	for i, f := range b.Features {
		if !given(f.Payload) {
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(f.Payload, &fields); err != nil {
			return d, domain.Invalid(fmt.Sprintf("features[%d].payload", i), "object_type", "must be an object")
		}
		d.Payload = merged(fields, d.Payload)
	}
	var err error
	d.Features, err = b.features(k, "")
	return d, err
}

// change makes the change of an existing document: PUT replaces its fields,
// PATCH lays them over (null removes one). Features with the same name are
// replaced, others stay. Configurations know the extractors of collections.
func (b documentBody) change(cfg domain.Config, extra map[string]json.RawMessage, replace bool, path string) (func(domain.Document, []domain.Feature) (domain.Document, []domain.Feature, error), error) {
	if err := b.check(extra, path); err != nil {
		return nil, err
	}
	if b.RootObjectID+b.RootBucketID+b.SourceType+b.SourceCollectionID+b.SourceDocumentID+b.SourceObjectID+b.LineagePath != "" || len(b.LineageChain) > 0 {
		return nil, &domain.Error{Code: domain.CodeInvalid, Reason: "lineage_immutable", Message: "the lineage of a document cannot change; leave out root_…, source_… and lineage_…"}
	}
	return func(d domain.Document, features []domain.Feature) (domain.Document, []domain.Feature, error) {
		switch {
		case b.DocumentID != "" && b.DocumentID != d.DocumentID:
			return d, nil, domain.Invalid(path+"document_id", "reference", "is %q, but the document is %q; leave it out", b.DocumentID, d.DocumentID)
		case b.CollectionID != "" && b.CollectionID != d.CollectionID && b.CollectionID != cfg.Collections[d.CollectionID].Name:
			return d, nil, domain.Invalid(path+"collection_id", "reference", "is %q, but the document is in %q; a document cannot move", b.CollectionID, d.CollectionID)
		}
		if replace {
			d.Payload = extra
		} else {
			d.Payload = merged(d.Payload, extra)
		}
		if given(b.Metadata) {
			d.Metadata = b.Metadata
		}
		if b.ContentHash != "" {
			d.ContentHash = b.ContentHash
		}
		more, err := b.features(cfg.Collections[d.CollectionID], path)
		if err != nil {
			return d, nil, err
		}
		return d, overlaid(features, more), nil
	}, nil
}

func overlaid(features, more []domain.Feature) []domain.Feature {
	kept := []domain.Feature{}
	for _, f := range features {
		replaced := false
		for _, m := range more {
			replaced = replaced || m.URI == f.URI
		}
		if !replaced {
			kept = append(kept, f)
		}
	}
	return append(kept, more...)
}

// features reads vectors and features[].vectors.
func (b documentBody) features(k domain.Collection, path string) ([]domain.Feature, error) {
	all, err := vectorsIn(b.Vectors, k.Extractor.Name+"@"+k.Extractor.Version, path+"vectors")
	if err != nil {
		return nil, err
	}
	for i, f := range b.Features {
		more, err := vectorsIn(f.Vectors, extractorNamed(f.ExtractorID), fmt.Sprintf("%sfeatures[%d].vectors", path, i))
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	seen := map[string]bool{}
	for _, f := range all {
		if seen[f.URI] {
			return nil, domain.Invalid(path+"vectors", "duplicate", "the feature %s is given twice", f.URI)
		}
		seen[f.URI] = true
	}
	return all, nil
}

// extractorNamed reads name_version, name@version, or a name alone (version v1).
func extractorNamed(id string) string {
	if strings.Contains(id, "@") {
		return id
	}
	if i := strings.LastIndex(id, "_v"); i > 0 {
		return id[:i] + "@" + id[i+1:]
	}
	return id + "@v1"
}

// maxDims bounds the dimensions of a vector that a client writes.
const maxDims = 8192

// vectorsIn reads name → list of numbers, or → {"terms": {term: count}, "length": n}.
// A name is a feature URI, or an output of the extractor.
func vectorsIn(raw json.RawMessage, extractor, path string) ([]domain.Feature, error) {
	if !given(raw) {
		return nil, nil
	}
	var byName map[string]json.RawMessage
	if err := json.Unmarshal(raw, &byName); err != nil {
		return nil, domain.Invalid(path, "object_type", "must be an object: name of a vector → list of numbers")
	}
	var features []domain.Feature
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		at, uri := path+"."+name, name
		if !strings.HasPrefix(name, "mixpeek://") {
			uri = "mixpeek://" + extractor + "/" + name
		}
		if _, err := domain.ParseFeatureURI(at, uri); err != nil {
			return nil, err
		}
		f, err := vectorIn(byName[name], at)
		if err != nil {
			return nil, err
		}
		f.URI = uri
		features = append(features, f)
	}
	return features, nil
}

func vectorIn(raw json.RawMessage, path string) (domain.Feature, error) {
	var sparse struct {
		Terms  map[string]uint32 `json:"terms"`
		Length uint32            `json:"length"`
	}
	if json.Unmarshal(raw, &sparse) == nil && len(sparse.Terms) > 0 {
		f := domain.Feature{Terms: domain.SortTerms(sparse.Terms)}
		var sum uint64
		for _, t := range f.Terms {
			if len(t.Term) > math.MaxUint16 {
				return f, domain.Invalid(path, "length", "a term has at most 65,535 bytes")
			}
			sum += uint64(t.Count)
		}
		if sum > math.MaxUint32 {
			return f, domain.Invalid(path, "range", "the counts of all terms add up to more than 4,294,967,295")
		}
		f.Length = max(sparse.Length, uint32(sum))
		return f, nil
	}
	var numbers []float64
	if err := json.Unmarshal(raw, &numbers); err != nil || len(numbers) == 0 || len(numbers) > maxDims {
		return domain.Feature{}, domain.Invalid(path, "vector", `must be a list of 1 to %d numbers, or {"terms": {"word": count}} for a sparse feature`, maxDims)
	}
	f := domain.Feature{Dense: make([]float32, len(numbers))}
	for i, x := range numbers {
		if f.Dense[i] = float32(x); math.IsInf(float64(f.Dense[i]), 0) {
			return f, domain.Invalid(fmt.Sprintf("%s[%d]", path, i), "range", "is too large for a 32-bit floating-point number")
		}
	}
	return f, nil
}
