package http

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"varve/commands"
	"varve/commands/extract"
	"varve/domain"
)

type featureWire struct {
	Address     string          `json:"feature_address"`
	Name        string          `json:"feature_extractor_name"`
	Version     string          `json:"version"`
	VectorIndex json.RawMessage `json:"vector_index"`
	Primary     bool            `json:"primary"`
	FeatureURI  string          `json:"feature_uri"`
}

func (s *Server) collectionFeatures(ctx context.Context, r *Request[None]) (any, error) {
	_, _, k, err := s.collectionAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	features := []featureWire{}
	for i, x := range indexesOf(k) {
		definition, err := json.Marshal(x.Definition().Index)
		if err != nil {
			return nil, err
		}
		features = append(features, featureWire{Address: x.FeatureURI, Name: k.Extractor.Name, Version: k.Extractor.Version,
			VectorIndex: definition, Primary: i == 0, FeatureURI: x.FeatureURI})
	}
	return map[string]any{"features": features}, nil
}

// extractorOf finds the extractor that a feature key means.
func extractorOf(feature string) (string, error) {
	var known []string
	for _, d := range extract.All() {
		if feature == d.Name || feature == d.ID || feature+"_extractor" == d.Name {
			return d.Name, nil
		}
		known = append(known, d.Name)
	}
	return "", domain.Invalid("features[0]", "enum", "%q is not a feature; there are %v", feature, known)
}

type triggerBody struct {
	Buckets       []string        `json:"include_buckets"`
	Collections   []string        `json:"include_collections"`
	ObjectIDs     []string        `json:"object_ids"`
	Filters       json.RawMessage `json:"source_filters"`
	DedupStrategy string          `json:"dedup_strategy" validate:"omitempty,oneof=skip replace force"`
	Reembed       json.RawMessage `json:"reembed"`
}

type triggerWire struct {
	BatchID     *string  `json:"batch_id"`
	TaskID      string   `json:"task_id"`
	Collection  string   `json:"collection_id"`
	Buckets     []string `json:"source_bucket_ids"`
	Collections []string `json:"source_collection_ids,omitempty"`
	ObjectCount int      `json:"object_count"`
	BatchIDs    []string `json:"batch_ids"`
	TaskIDs     []string `json:"task_ids"`
	BatchCount  int      `json:"batch_count"`
	TotalTiers  int      `json:"total_tiers"`
	Message     string   `json:"message"`
	Warned
}

// triggerCollection answers 202: the batches run in the background.
func (s *Server) triggerCollection(ctx context.Context, r *Request[triggerBody]) (any, error) {
	if given(r.Body.Reembed) {
		return nil, domain.Invalid("reembed", "unsupported", "embedding stored text again is not possible; trigger the collection without it")
	}
	filter, err := domain.ParseLiteralFilter("source_filters", orAbsent(r.Body.Filters))
	if err != nil {
		return nil, err
	}
	_, cfg, k, err := s.collectionAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	if err := allSources(cfg, k, r.Body.Collections); err != nil {
		return nil, err
	}
	batches, err := s.Commands.TriggerCollection(ctx, r.In(), commands.TriggerCollection{Collection: k.CollectionID, Buckets: r.Body.Buckets, ObjectIDs: r.Body.ObjectIDs, Filter: filter})
	if err != nil {
		return nil, err
	}
	w := &triggerWire{Collection: k.CollectionID, Buckets: []string{}, BatchIDs: []string{}, TaskIDs: []string{}, TotalTiers: 1, Collections: k.Source.CollectionIDs}
	for _, b := range batches {
		w.Buckets = append(w.Buckets, b.BucketID)
		w.BatchIDs = append(w.BatchIDs, b.BatchID)
		w.ObjectCount += len(b.ObjectIDs)
		w.TotalTiers = max(w.TotalTiers, len(b.Tiers))
		if b.TaskID != "" {
			w.TaskIDs = append(w.TaskIDs, b.TaskID)
		}
	}
	w.BatchCount = len(w.BatchIDs)
	w.Message = fmt.Sprintf("%d objects in %d batches are being extracted", w.ObjectCount, w.BatchCount)
	if w.BatchCount > 0 {
		w.BatchID = &w.BatchIDs[0]
	}
	if len(w.TaskIDs) > 0 {
		w.TaskID = w.TaskIDs[0]
	} else {
		w.TaskID, w.Message = domain.DeriveID(domain.TaskPrefix, "empty", k.CollectionID), nothingToExtract // that task reads FAILED
	}
	w.warn(replaces(r.Body.DedupStrategy))
	return &Response{Status: 202, Body: w}, nil
}

// allSources refuses to run a part of a collection's sources: its tier reads
// every collection that it names.
func allSources(cfg domain.Config, k domain.Collection, asked []string) error {
	named := map[string]bool{}
	for i, identifier := range asked {
		source, ok := cfg.Collection(identifier)
		if !ok || !slices.Contains(k.Source.CollectionIDs, source.CollectionID) {
			return domain.Invalid(fmt.Sprintf("include_collections[%d]", i), "reference", "%q is not a collection that %s reads", identifier, k.Name)
		}
		named[source.CollectionID] = true
	}
	if len(asked) > 0 && len(named) < len(k.Source.CollectionIDs) {
		return domain.Invalid("include_collections", "unsupported", "a part of the sources cannot be run alone; leave it out, or name all of %v", k.Source.CollectionIDs)
	}
	return nil
}

// replaces warns of a dedup_strategy that is not what happens: documents are
// known by what they were made from, so a second run replaces those of the first.
func replaces(asked string) []string {
	if asked == "" || asked == "replace" {
		return nil
	}
	return []string{"dedup_strategy: " + asked + " is run as replace: objects are extracted again, their documents replaced and none duplicated"}
}
