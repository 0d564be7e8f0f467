package http

import (
	"context"
	"encoding/json"
	"sort"

	"varve/commands"
	"varve/domain"
	"varve/projections"
)

var _ = noun("collection", (*Server).collectionRoutes)

func (s *Server) collectionRoutes() {
	read := needs{Permission: "read", Resource: "collection", Namespaced: true}
	write := needs{Permission: "write", Resource: "collection", Namespaced: true}
	s.route("POST", "/v1/collections", write, handle(s.createCollection))
	s.list("/v1/collections", read, handle(s.listCollections))
	s.route("GET", "/v1/collections/{collection_identifier}", read, handle(s.collection))
	s.route("PATCH", "/v1/collections/{collection_identifier}", write, handle(s.changeCollection))
	s.route("DELETE", "/v1/collections/{collection_identifier}", needs{Permission: "delete", Resource: "collection", Namespaced: true}, handle(s.deleteCollection))
	s.route("GET", "/v1/collections/{collection_identifier}/features", read, handle(s.collectionFeatures))
	s.route("POST", "/v1/collections/{collection_identifier}/trigger", needs{Permission: "write", Resource: "collection", Namespaced: true, Class: "compute"}, handle(s.triggerCollection))
}

type collectionBody struct {
	Name        *string              `json:"collection_name"`
	Description *string              `json:"description"`
	Source      *collectionSource    `json:"source"`
	Extractor   *collectionExtractor `json:"feature_extractor"`
	Features    []string             `json:"features"`
	InputSchema json.RawMessage      `json:"input_schema"`
	Enabled     *bool                `json:"enabled"`
	Metadata    json.RawMessage      `json:"metadata"`
	// kept and shown; nothing acts on them yet
	Schedule             json.RawMessage `json:"schedule"`
	TaxonomyApplications json.RawMessage `json:"taxonomy_applications"`
	ClusterApplications  json.RawMessage `json:"cluster_applications"`
	AlertApplications    json.RawMessage `json:"alert_applications"`
	RetrieverEnrichments json.RawMessage `json:"retriever_enrichments"`
	RetrieverTransform   json.RawMessage `json:"retriever_transform"`
	EmbeddingTask        json.RawMessage `json:"embedding_task"`
	TieringRules         json.RawMessage `json:"tiering_rules"`
	Tiering              json.RawMessage `json:"tiering"`
}

type collectionSource struct {
	Type               string          `json:"type" validate:"required"`
	BucketIDs          []string        `json:"bucket_ids"`
	CollectionID       string          `json:"collection_id"`
	CollectionIDs      []string        `json:"collection_ids"`
	SourceNamespaceID  string          `json:"source_namespace_id"`
	InheritedBucketIDs []string        `json:"inherited_bucket_ids"`
	Filters            json.RawMessage `json:"source_filters"`
	FieldMap           json.RawMessage `json:"field_map"`
}

type collectionExtractor struct {
	Name             string          `json:"feature_extractor_name" validate:"required"`
	Version          string          `json:"version"`
	Params           json.RawMessage `json:"params"`
	Parameters       json.RawMessage `json:"parameters"`
	InputMappings    json.RawMessage `json:"input_mappings"`
	FieldPassthrough json.RawMessage `json:"field_passthrough"`
	IncludeAll       bool            `json:"include_all_source_fields"`
}

func (b collectionBody) onto(k domain.Collection) (domain.Collection, error) {
	if b.Name != nil {
		k.Name = *b.Name
	}
	if b.Description != nil {
		k.Description = *b.Description
	}
	if b.Enabled != nil {
		k.Enabled = *b.Enabled
	}
	if given(b.Metadata) {
		k.Metadata = b.Metadata
	}
	if given(b.InputSchema) {
		k.InputSchema = b.InputSchema
	}
	rest := map[string]json.RawMessage{}
	for name, raw := range k.Rest {
		rest[name] = raw
	}
	for name, raw := range map[string]json.RawMessage{"schedule": b.Schedule, "taxonomy_applications": b.TaxonomyApplications,
		"cluster_applications": b.ClusterApplications, "alert_applications": b.AlertApplications, "retriever_enrichments": b.RetrieverEnrichments,
		"retriever_transform": b.RetrieverTransform, "embedding_task": b.EmbeddingTask, "tiering_rules": b.TieringRules, "tiering": b.Tiering} {
		if given(raw) && string(raw) != "[]" && string(raw) != "{}" {
			rest[name] = raw
		}
	}
	if len(rest) > 0 {
		k.Rest = rest
	}
	return k, nil
}

// source normalises what a collection reads.
func (b collectionSource) source() (domain.CollectionSource, error) {
	if b.SourceNamespaceID != "" {
		return domain.CollectionSource{}, domain.Invalid("source.source_namespace_id", "unsupported", "a collection reads from its own namespace; leave it out")
	}
	ids := b.CollectionIDs
	if b.CollectionID != "" {
		ids = append([]string{b.CollectionID}, ids...)
	}
	return domain.CollectionSource{Type: b.Type, BucketIDs: b.BucketIDs, CollectionIDs: ids, Filters: sourceFilters(b.Filters)}, nil
}

// sourceFilters takes filters out of their wrapping: {"filters": {…}} or bare.
func sourceFilters(raw json.RawMessage) json.RawMessage {
	var wrapped struct {
		Filters json.RawMessage `json:"filters"`
	}
	if json.Unmarshal(raw, &wrapped) == nil && given(wrapped.Filters) {
		return wrapped.Filters
	}
	return orAbsent(raw)
}

func (b collectionExtractor) extractor() (domain.ExtractorConfig, error) {
	x := domain.ExtractorConfig{Name: b.Name, Version: b.Version, Parameters: orAbsent(b.Parameters), IncludeAllFields: b.IncludeAll}
	if x.Version == "" {
		x.Version = "v1"
	}
	if x.Parameters == nil {
		x.Parameters = orAbsent(b.Params)
	}
	var err error
	if x.InputMappings, err = inputMappings(b.InputMappings); err != nil {
		return x, err
	}
	x.FieldPassthrough, err = fieldPassthrough(b.FieldPassthrough)
	return x, err
}

// inputMappings reads a map input → path, or a list of {input_key, source_type, path, …}.
func inputMappings(raw json.RawMessage) ([]domain.InputMapping, error) {
	const path = "feature_extractor.input_mappings"
	if !given(raw) {
		return nil, nil
	}
	var byName map[string]json.RawMessage
	if json.Unmarshal(raw, &byName) == nil {
		var out []domain.InputMapping
		for name, v := range byName {
			var one string
			var many []string
			switch {
			case json.Unmarshal(v, &one) == nil:
				out = append(out, domain.InputMapping{InputKey: name, Path: one})
			case json.Unmarshal(v, &many) == nil:
				for _, p := range many {
					out = append(out, domain.InputMapping{InputKey: name, Path: p})
				}
			default:
				return nil, domain.Invalid(path+"."+name, "type", "must be the path of a source field, or a list of paths")
			}
		}
		sort.SliceStable(out, func(i, j int) bool { return out[i].InputKey < out[j].InputKey })
		return out, nil
	}
	var list []struct {
		InputKey   string          `json:"input_key"`
		SourceType string          `json:"source_type"`
		Path       string          `json:"path"`
		Override   json.RawMessage `json:"override"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, domain.Invalid(path, "type", "must be an object (input → path of a source field) or a list of {input_key, source_type, path}")
	}
	var out []domain.InputMapping
	for _, m := range list {
		if m.InputKey == "" {
			return nil, domain.Invalid(path, "missing", "every mapping needs input_key")
		}
		out = append(out, domain.InputMapping{InputKey: m.InputKey, Path: m.Path, Literal: orAbsent(m.Override)})
	}
	return out, nil
}

// fieldPassthrough reads paths as plain strings or as objects.
func fieldPassthrough(raw json.RawMessage) ([]domain.Passthrough, error) {
	const path = "feature_extractor.field_passthrough"
	if !given(raw) {
		return nil, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, domain.Invalid(path, "type", "must be a list of field paths or of {source_path, target_path, default, required}")
	}
	var out []domain.Passthrough
	for _, item := range list {
		var name string
		if json.Unmarshal(item, &name) == nil {
			out = append(out, domain.Passthrough{SourcePath: name})
			continue
		}
		var p domain.Passthrough
		if err := json.Unmarshal(item, &p); err != nil || p.SourcePath == "" {
			return nil, domain.Invalid(path, "missing", "every entry needs source_path, the path of a field of the source")
		}
		out = append(out, p)
	}
	return out, nil
}

func (s *Server) createCollection(ctx context.Context, r *Request[collectionBody]) (any, error) {
	b := r.Body
	switch {
	case b.Name == nil:
		return nil, domain.Invalid("collection_name", "missing", "a collection needs a name")
	case b.Source == nil:
		return nil, domain.Invalid("source", "missing", `a collection needs a source, for example {"type": "bucket", "bucket_ids": ["bkt_…"]}`)
	case b.Extractor == nil && len(b.Features) > 1:
		return nil, domain.Invalid("features", "length", "a collection has one extractor; make a collection for each feature")
	case b.Extractor == nil && len(b.Features) == 1:
		name, err := extractorOf(b.Features[0])
		if err != nil {
			return nil, err
		}
		b.Extractor = &collectionExtractor{Name: name, Version: "v1"}
	case b.Extractor == nil:
		return nil, domain.Invalid("feature_extractor", "missing", `a collection needs an extractor, for example {"feature_extractor_name": "text_extractor", "version": "v1"}`)
	}
	source, err := b.Source.source()
	if err != nil {
		return nil, err
	}
	x, err := b.Extractor.extractor()
	if err != nil {
		return nil, err
	}
	k, err := s.Commands.SaveCollection(ctx, r.In(), commands.SaveCollection{Change: func(k domain.Collection) (domain.Collection, error) {
		k.Source, k.Extractor = source, x
		return b.onto(k)
	}})
	if err != nil {
		return nil, err
	}
	cfg, _, err := s.config(ctx, r.namespaceLog())
	if err != nil {
		return nil, err
	}
	return tagged(collectionOut(cfg, k, 0), k.Updated.Version), nil
}

// changeCollection changes what may change; source and extractor may not.
func (s *Server) changeCollection(ctx context.Context, r *Request[collectionBody]) (any, error) {
	for path, named := range map[string]bool{"source": r.Body.Source != nil, "feature_extractor": r.Body.Extractor != nil} {
		if named {
			return nil, domain.Invalid(path, "immutable", "source and feature_extractor of a collection cannot change; make a new collection")
		}
	}
	k, err := s.Commands.SaveCollection(ctx, r.In(), commands.SaveCollection{Identifier: r.Path("collection_identifier"), Change: r.Body.onto})
	if err != nil {
		return nil, err
	}
	return s.collectionNow(ctx, r.Call, k.CollectionID)
}

// collectionAt pins the request's position and finds the collection that its path names.
func (s *Server) collectionAt(ctx context.Context, c *Call) (projections.At, domain.Config, domain.Collection, error) {
	return s.pinnedCollection(ctx, c, c.Path("collection_identifier"))
}

func (s *Server) pinnedCollection(ctx context.Context, c *Call, identifier string) (projections.At, domain.Config, domain.Collection, error) {
	at, cfg, err := s.pin(ctx, c)
	if err != nil {
		return at, cfg, domain.Collection{}, err
	}
	k, ok := cfg.Collection(identifier)
	if !ok {
		return at, cfg, k, domain.NotFound("collection", identifier)
	}
	return at, cfg, k, nil
}

func (s *Server) collection(ctx context.Context, r *Request[None]) (any, error) {
	return s.collectionNow(ctx, r.Call, r.Path("collection_identifier"))
}

func (s *Server) collectionNow(ctx context.Context, c *Call, identifier string) (any, error) {
	at, cfg, k, err := s.pinnedCollection(ctx, c, identifier)
	if err != nil {
		return nil, err
	}
	n, err := s.Documents.Count(ctx, at, projections.DocumentQuery{Collections: []string{k.CollectionID}})
	if err != nil {
		return nil, err
	}
	return tagged(collectionOut(cfg, k, n), k.Updated.Version), nil
}

func (s *Server) listCollections(ctx context.Context, r *Request[listBody]) (any, error) {
	at, cfg, err := s.pinList(ctx, r)
	if err != nil {
		return nil, err
	}
	counts, err := s.Documents.CountByCollection(ctx, at)
	if err != nil {
		return nil, err
	}
	answer, _, err := configList(r, cfg.Collections, func(k domain.Collection) *collectionWire { return collectionOut(cfg, k, counts[k.CollectionID]) })
	return answer, err
}

func (s *Server) deleteCollection(ctx context.Context, r *Request[None]) (any, error) {
	id, err := s.Commands.DeleteCollection(ctx, r.In(), r.Path("collection_identifier"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"success": true, "collection_id": id, "message": "collection and documents deleted"}, nil
}
