package http

import (
	"context"
	"encoding/json"

	"varve/domain"
	"varve/projections"
)

var _ = noun("document", (*Server).documentNounRoutes)

func (s *Server) documentNounRoutes() {
	read := needs{Permission: "read", Resource: "collection", Operation: "read_data", Namespaced: true, Class: "data"}
	write := needs{Permission: "write", Resource: "collection", Operation: "write_data", Namespaced: true, Class: "data"}
	remove := needs{Permission: "delete", Resource: "collection", Operation: "delete_data", Namespaced: true, Class: "data"}
	const path = "/v1/collections/{collection_identifier}/documents"
	s.route("POST", path, write, handle(s.createDocument))
	s.list(path, read, handle(s.listDocuments))
	s.route("GET", path+"/count", read, handle(s.countDocuments))
	s.route("POST", path+"/distinct", read, handle(s.distinctValues))
	s.route("POST", path+"/batch", write, handle(s.updateDocuments))
	s.route("DELETE", path+"/batch", remove, handle(s.deleteDocuments))
	s.route("PATCH", path+"/bulk", write, handle(s.bulkUpdate))
	s.route("GET", path+"/{document_id}", read, handle(s.documentOne))
	s.route("PUT", path+"/{document_id}", write, handle(s.replaceDocument))
	s.route("PATCH", path+"/{document_id}", write, handle(s.patchDocument))
	s.route("DELETE", path+"/{document_id}", remove, handle(s.deleteDocument))

	// Without a collection: of any that the key's scopes cover.
	read.Filters, write.Filters = true, true
	s.route("POST", "/v1/documents/list", read, handle(s.listAllDocuments))
	s.route("POST", "/v1/documents/list/batch", read, handle(s.listDocumentsBatch))
	s.route("POST", "/v1/documents/batch-get", read, handle(s.documentsByID))
	s.route("POST", "/v1/documents/search", read, handle(s.searchDocuments))
	s.route("GET", "/v1/documents/{document_id}", read, handle(s.documentOne))
	s.route("PUT", "/v1/documents/{document_id}", write, handle(s.replaceDocument))
	s.route("PATCH", "/v1/documents/{document_id}", write, handle(s.patchDocument))
}

// coversCollection says whether the caller's key may look into a collection,
// on routes that name none.
func (c *Call) coversCollection(id string) bool {
	return c.Covers("collection", id) || c.Covers("namespace", c.Namespace.ID)
}

// covered leaves out documents of collections that the caller's key does not cover.
func (c *Call) covered(rows []projections.DocumentRow) []projections.DocumentRow {
	if len(c.Key.Scopes) == 0 {
		return rows
	}
	kept := []projections.DocumentRow{}
	for _, row := range rows {
		if c.coversCollection(row.CollectionID) {
			kept = append(kept, row)
		}
	}
	return kept
}

// documentAt reads the document of the path, in the collection of the path
// where it names one.
func (s *Server) documentAt(ctx context.Context, c *Call) (projections.At, domain.Config, projections.DocumentRow, error) {
	at, cfg, err := s.pin(ctx, c)
	if err != nil {
		return at, cfg, projections.DocumentRow{}, err
	}
	row, err := s.documentIn(ctx, c, at, cfg)
	return at, cfg, row, err
}

func (s *Server) documentIn(ctx context.Context, c *Call, at projections.At, cfg domain.Config) (projections.DocumentRow, error) {
	id := c.Path("document_id")
	identifier, inCollection := c.params["collection_identifier"]
	collection, known := cfg.Collection(identifier)
	if inCollection && !known {
		return projections.DocumentRow{}, domain.NotFound("collection", identifier)
	}
	row, err := s.Documents.Document(ctx, at, id)
	if err != nil {
		return row, err
	}
	if inCollection && row.CollectionID != collection.CollectionID || !inCollection && !c.coversCollection(row.CollectionID) {
		return row, domain.NotFound("document", id)
	}
	return row, nil
}

func (s *Server) documentOne(ctx context.Context, r *Request[None]) (any, error) {
	asked, err := r.vectorsAsked(nil, nil)
	if err != nil {
		return nil, err
	}
	at, _, row, err := s.documentAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	w, err := s.shown(ctx, r.Call, at, row, asked, queryNames(r.Call, "expand"))
	return tagged(w, row.Version), err
}

// shown is a document with the vectors and the expansions that were asked for.
func (s *Server) shown(ctx context.Context, c *Call, at projections.At, row projections.DocumentRow, asked vectorsAsked, expand []string) (map[string]any, error) {
	w := documentOut(row, c.Namespace.ID)
	if err := s.addVectors(ctx, at, row, w, asked); err != nil {
		return nil, err
	}
	return w, s.expand(ctx, c, at, row, w, expand)
}

// documentNow reads a document that was written just now.
func (s *Server) documentNow(ctx context.Context, c *Call, id string) (any, error) {
	at, _, err := s.pin(ctx, c)
	if err != nil {
		return nil, err
	}
	row, err := s.Documents.Document(ctx, at, id)
	if err != nil {
		return nil, err
	}
	return tagged(documentOut(row, c.Namespace.ID), row.Version), nil
}

func (s *Server) createDocument(ctx context.Context, r *Request[documentBody]) (any, error) {
	cfg, _, err := s.config(ctx, r.namespaceLog())
	if err != nil {
		return nil, err
	}
	k, ok := cfg.Collection(r.Path("collection_identifier"))
	if !ok {
		return nil, domain.NotFound("collection", r.Path("collection_identifier"))
	}
	cmd, err := r.Body.written(k, r.Extra())
	if err != nil {
		return nil, err
	}
	d, err := s.Commands.CreateDocument(ctx, r.In(), k.CollectionID, cmd)
	if err != nil {
		return nil, err
	}
	return s.documentNow(ctx, r.Call, d.DocumentID)
}

func (s *Server) replaceDocument(ctx context.Context, r *Request[documentBody]) (any, error) {
	return s.changeDocument(ctx, r, true)
}

func (s *Server) patchDocument(ctx context.Context, r *Request[documentBody]) (any, error) {
	return s.changeDocument(ctx, r, false)
}

func (s *Server) changeDocument(ctx context.Context, r *Request[documentBody], replace bool) (any, error) {
	cfg, _, err := s.config(ctx, r.namespaceLog())
	if err != nil {
		return nil, err
	}
	change, err := r.Body.change(cfg, r.Extra(), replace, "")
	if err != nil {
		return nil, err
	}
	id, inCollection := r.params["collection_identifier"]
	if !inCollection {
		id = ""
	}
	d, err := s.Commands.ChangeDocument(ctx, r.In(), id, r.Path("document_id"), func(d domain.Document, features []domain.Feature) (domain.Document, []domain.Feature, error) {
		if !inCollection && !r.coversCollection(d.CollectionID) {
			return d, nil, domain.NotFound("document", d.DocumentID)
		}
		return change(d, features)
	})
	if err != nil {
		return nil, err
	}
	return s.documentNow(ctx, r.Call, d.DocumentID)
}

func (s *Server) deleteDocument(ctx context.Context, r *Request[None]) (any, error) {
	errs, err := s.Commands.DeleteDocuments(ctx, r.In(), r.Path("collection_identifier"), []string{r.Path("document_id")}, r.Reason)
	if err == nil {
		err = errs[0]
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"success": true, "message": "document deleted", "document_id": r.Path("document_id")}, nil
}

func (s *Server) countDocuments(ctx context.Context, r *Request[None]) (any, error) {
	at, _, k, err := s.collectionAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	n, err := s.Documents.Count(ctx, at, projections.DocumentQuery{Collections: []string{k.CollectionID}})
	return map[string]any{"collection_id": k.CollectionID, "count": n}, err
}

type distinctBody struct {
	Field   string          `json:"field" validate:"required,max=1024"`
	Filters json.RawMessage `json:"filters"`
	Limit   int             `json:"limit" validate:"omitempty,min=1,max=10000"`
}

// distinctValues counts a field's values; of an array each element counts.
func (s *Server) distinctValues(ctx context.Context, r *Request[distinctBody]) (any, error) {
	at, _, k, err := s.collectionAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	filter, err := r.filter()
	if err != nil {
		return nil, err
	}
	if r.Body.Limit == 0 {
		r.Body.Limit = 100
	}
	found, total, err := s.Documents.Distinct(ctx, at, projections.DocumentQuery{Collections: []string{k.CollectionID}, Filter: filter}, r.Body.Field, r.Body.Limit)
	if err != nil {
		return nil, err
	}
	values := make([]map[string]any, len(found))
	for i, v := range found {
		values[i] = map[string]any{"value": v.Value, "count": v.Count}
	}
	return map[string]any{"field": r.Body.Field, "values": values, "total_distinct": total}, nil
}

type documentIDsBody struct {
	DocumentIDs   []string `json:"document_ids" validate:"required,min=1,max=1000"`
	PresignedURLs *bool    `json:"return_presigned_urls"`
	Vectors       *bool    `json:"return_vectors"`
}

// documentsByID gives documents in the order asked, and which do not exist.
func (s *Server) documentsByID(ctx context.Context, r *Request[documentIDsBody]) (any, error) {
	at, _, err := s.pin(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	asked, err := r.vectorsAsked(r.Body.Vectors, nil)
	if err != nil {
		return nil, err
	}
	rows, err := s.Documents.Documents(ctx, at, r.Body.DocumentIDs)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	documents, missing := []map[string]any{}, []string{}
	for _, row := range r.covered(rows) {
		w, err := s.shown(ctx, r.Call, at, row, asked, nil)
		if err != nil {
			return nil, err
		}
		found[row.DocumentID] = true
		documents = append(documents, w)
	}
	for _, id := range r.Body.DocumentIDs {
		if !found[id] {
			missing = append(missing, id)
		}
	}
	return map[string]any{"documents": documents, "not_found": missing}, nil
}
