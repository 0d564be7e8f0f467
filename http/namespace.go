package http

import (
	"context"
	"encoding/json"
	"time"

	"varve/commands"
	"varve/commands/extract"
	"varve/domain"
	"varve/eventstore"
	"varve/projections"
)

var _ = noun("namespace", (*Server).namespaceRoutes)

func (s *Server) namespaceRoutes() {
	read := needs{Permission: "read", Resource: "namespace"}
	write := needs{Permission: "write", Resource: "namespace"}
	s.route("POST", "/v1/namespaces", write, handle(s.createNamespace))
	s.list("/v1/namespaces", needs{Permission: "read", Resource: "namespace", Filters: true}, handle(s.listNamespaces))
	s.route("GET", "/v1/namespaces/{namespace_identifier}", read, handle(s.showNamespace))
	s.route("PUT", "/v1/namespaces/{namespace_identifier}", write, handle(s.patchNamespace))
	s.route("PATCH", "/v1/namespaces/{namespace_identifier}", write, handle(s.patchNamespace))
	s.route("DELETE", "/v1/namespaces/{namespace_identifier}", needs{Permission: "delete", Resource: "namespace"}, handle(s.deleteNamespace))
	s.route("GET", "/v1/namespaces/{namespace_identifier}/stats", read, handle(s.namespaceStats))
	s.route("POST", "/v1/namespaces/stats/batch", needs{Permission: "read", Resource: "namespace", Filters: true}, handle(s.namespaceStatsBatch))
}

// inPath makes the namespace that the path names the call's.
func inPath(c *Call, parameter string) error {
	n, ok := c.Organization.Namespace(c.Path(parameter))
	if !ok {
		e := domain.NotFound("namespace", c.Path(parameter))
		e.Reason = "namespace_not_found"
		return e
	}
	c.Namespace = n
	return nil
}

type createNamespaceBody struct {
	NamespaceID   string         `json:"namespace_id"`
	Name          string         `json:"namespace_name" validate:"required,min=3,max=64"`
	Mode          string         `json:"mode" validate:"omitempty,oneof=managed standalone"`
	NamespaceType string         `json:"namespace_type" validate:"omitempty,oneof=standard marketplace"`
	Scope         string         `json:"scope" validate:"omitempty,oneof=org system"`
	VectorConfigs []vectorConfig `json:"vector_configs" validate:"dive"`
	namespaceSettings
}

func (s *Server) createNamespace(ctx context.Context, r *Request[createNamespaceBody]) (any, error) {
	b := r.Body
	refs, err := b.check()
	if err != nil {
		return nil, err
	}
	settings := b.onto(domain.NamespaceSettings{Mode: b.Mode}, refs)
	if len(b.VectorConfigs) > 0 {
		if settings.Mode == "" && len(refs) == 0 {
			settings.Mode = "standalone"
		}
		for i := range b.VectorConfigs {
			if b.VectorConfigs[i].Metric == "" {
				b.VectorConfigs[i].Metric = "cosine"
			}
		}
		if settings.VectorConfigs, err = json.Marshal(b.VectorConfigs); err != nil {
			return nil, err
		}
	}
	if settings.Mode != "standalone" && b.FeatureExtractors == nil && b.Features == nil {
		for _, d := range extract.All() { // the baseline: every extractor there is
			settings.FeatureExtractors = append(settings.FeatureExtractors, domain.ExtractorRef{Name: d.Name, Version: d.Version})
		}
	}
	n, err := s.Commands.CreateNamespace(ctx, r.In(), commands.CreateNamespace{NamespaceID: b.NamespaceID, Name: b.Name, Settings: settings})
	if err != nil {
		return nil, err
	}
	return s.namespaceAnswer(ctx, n, false)
}

// namespaceAnswer is a namespace as it is now; counted looks up what it holds.
func (s *Server) namespaceAnswer(ctx context.Context, n domain.Namespace, counted bool) (any, error) {
	cfg, _, err := s.config(ctx, eventstore.LogID(n.Log))
	if err != nil {
		return nil, err
	}
	w := namespaceOut(n, cfg)
	if counted {
		stats, err := s.stats(ctx, n)
		if err != nil {
			return nil, err
		}
		w.DocumentCount, w.ObjectCount, w.DocumentCountComplete = stats.DocumentCount, stats.ObjectCount, stats.DocumentCountComplete
	} else if len(cfg.Collections) == 0 && len(cfg.Buckets) == 0 {
		none := 0
		w.DocumentCount, w.ObjectCount, w.DocumentCountComplete = &none, &none, true
	}
	return tagged(w, cfg.Version), nil
}

func (s *Server) showNamespace(ctx context.Context, r *Request[None]) (any, error) {
	if err := inPath(r.Call, "namespace_identifier"); err != nil {
		return nil, err
	}
	return s.namespaceAnswer(ctx, r.Namespace, true)
}

type patchNamespaceBody struct {
	Name      *string    `json:"namespace_name" validate:"omitempty,min=3,max=64"`
	ExpiresAt *time.Time `json:"expires_at"`
	namespaceSettings
}

func (s *Server) patchNamespace(ctx context.Context, r *Request[patchNamespaceBody]) (any, error) {
	if err := inPath(r.Call, "namespace_identifier"); err != nil {
		return nil, err
	}
	b, n := r.Body, r.Namespace
	refs, err := b.check()
	if err != nil {
		return nil, err
	}
	if b.ExpiresAt != nil {
		ttl := int(b.ExpiresAt.Sub(n.CreatedAt).Seconds())
		if !b.ExpiresAt.After(s.Now()) {
			return nil, domain.Invalid("expires_at", "range", "is in the past; delete the namespace instead")
		}
		b.TTLSeconds = &ttl
	}
	cmd := commands.UpdateNamespace{NamespaceID: n.ID, Name: b.Name}
	if b.namespaceSettings.sent() {
		cmd.Change = func(s domain.NamespaceSettings) domain.NamespaceSettings { return b.onto(s, refs) }
	}
	if cmd.Name != nil || cmd.Change != nil {
		if err := s.Commands.UpdateNamespace(ctx, r.In(), cmd); err != nil {
			return nil, err
		}
	}
	org, err := s.organization(ctx, r.Log)
	if err != nil {
		return nil, err
	}
	return s.namespaceAnswer(ctx, org.Namespaces[n.ID], true)
}

// sent says whether any setting was sent.
func (b namespaceSettings) sent() bool {
	return b.Description != nil || b.FeatureExtractors != nil || b.Features != nil || b.PayloadIndexes != nil || b.AutoCreateIndexes != nil || b.TTLSeconds != nil
}

func (s *Server) deleteNamespace(ctx context.Context, r *Request[None]) (any, error) {
	if err := inPath(r.Call, "namespace_identifier"); err != nil {
		return nil, err
	}
	force, err := r.QueryBool("force", false)
	if err != nil {
		return nil, err
	}
	if err := s.Commands.DeleteNamespace(ctx, r.In(), r.Namespace.ID, force); err != nil {
		return nil, err
	}
	return map[string]any{"namespace_id": r.Namespace.ID, "status": domain.StatusCompleted, "task_id": domain.DeriveID(domain.TaskPrefix, "delete", r.Namespace.Log),
		"message": "namespace deleted with everything in it", "success": true}, nil
}

type listNamespacesBody struct {
	listBody
	View string `json:"view"`
}

type namespaceList struct {
	*listAnswer[*namespaceWire]
	Stats map[string]any `json:"stats"`
}

func (s *Server) listNamespaces(ctx context.Context, r *Request[listNamespacesBody]) (any, error) {
	if _, err := r.QueryBool("include_system", false); err != nil {
		return nil, err
	}
	if _, err := r.QueryEnum("view", "full", "summary"); err != nil {
		return nil, err
	}
	all := map[string]*namespaceWire{}
	for id, n := range r.Organization.Namespaces {
		if !r.Covers("namespace", id) {
			continue
		}
		cfg, _, err := s.config(ctx, eventstore.LogID(n.Log))
		if err != nil {
			return nil, err
		}
		all[id] = namespaceOut(n, cfg)
	}
	inner := &Request[listBody]{Call: r.Call, Body: r.Body.listBody, Members: r.Members, Unknown: r.Unknown}
	a, matching, err := configList(inner, all, func(w *namespaceWire) *namespaceWire { return w })
	if err != nil {
		return nil, err
	}
	extractors, indexes, buckets, collections := 0, 0, 0, 0
	for _, w := range matching {
		extractors, indexes = extractors+len(w.FeatureExtractors), indexes+w.PayloadIndexCount
		buckets, collections = buckets+w.BucketCount, collections+w.CollectionCount
	}
	return &namespaceList{a, map[string]any{"total_feature_extractors": extractors, "total_payload_indexes": indexes, "total_buckets": buckets,
		"total_collections": collections, "total_documents_complete": false}}, nil
}

// namespaceStatsWire is NamespaceStatsResponse.
type namespaceStatsWire struct {
	NamespaceID           string `json:"namespace_id"`
	DocumentCount         *int   `json:"document_count"`
	DocumentCountComplete bool   `json:"document_count_complete"`
	BucketCount           int    `json:"bucket_count"`
	CollectionCount       int    `json:"collection_count"`
	ObjectCount           *int   `json:"object_count"`
}

// stats counts what a namespace holds, as of the position that all models have applied.
func (s *Server) stats(ctx context.Context, n domain.Namespace) (namespaceStatsWire, error) {
	log := eventstore.LogID(n.Log)
	cfg, _, err := s.config(ctx, log)
	if err != nil {
		return namespaceStatsWire{}, err
	}
	w := namespaceStatsWire{NamespaceID: n.ID, BucketCount: len(cfg.Buckets), CollectionCount: len(cfg.Collections), DocumentCountComplete: true}
	objects, documents := 0, 0
	if len(cfg.Buckets) > 0 || len(cfg.Collections) > 0 {
		p, err := s.Models.Pin(ctx, log)
		if err != nil {
			return w, err
		}
		totals, err := s.Objects.Totals(ctx, p.At)
		if err != nil {
			return w, err
		}
		for _, t := range totals {
			objects += t.Objects
		}
		if documents, err = s.Documents.Count(ctx, p.At, projections.DocumentQuery{}); err != nil {
			return w, err
		}
	}
	w.ObjectCount, w.DocumentCount = &objects, &documents
	return w, nil
}

func (s *Server) namespaceStats(ctx context.Context, r *Request[None]) (any, error) {
	if err := inPath(r.Call, "namespace_identifier"); err != nil {
		return nil, err
	}
	return s.stats(ctx, r.Namespace)
}

type namespaceStatsBody struct {
	NamespaceIDs []string `json:"namespace_ids" validate:"required,max=100"`
}

// namespaceStatsBatch leaves out what does not exist for this caller.
func (s *Server) namespaceStatsBatch(ctx context.Context, r *Request[namespaceStatsBody]) (any, error) {
	all := map[string]namespaceStatsWire{}
	for _, identifier := range r.Body.NamespaceIDs {
		n, ok := r.Organization.Namespace(identifier)
		if !ok || !r.Covers("namespace", n.ID) {
			continue
		}
		w, err := s.stats(ctx, n)
		if err != nil {
			return nil, err
		}
		all[identifier] = w
	}
	return map[string]any{"stats": all}, nil
}
