package http

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"varve/commands"
	"varve/domain"
	"varve/projections"
)

const (
	maxInline   = 5000 // documents that one request changes by filter
	bulkAppends = 1000 // documents in one append
)

type updatesBody struct {
	Updates []struct {
		DocumentID string          `json:"document_id" validate:"required"`
		Update     json.RawMessage `json:"update_data" validate:"required"`
	} `json:"updates" validate:"max=1000,dive"`
	Filters json.RawMessage `json:"filters"`
	Update  json.RawMessage `json:"update_data"`
}

type documentChange = func(domain.Document, []domain.Feature) (domain.Document, []domain.Feature, error)

// changeIn reads update_data: as the body of a PATCH.
func changeIn(cfg domain.Config, raw json.RawMessage, path string) (documentChange, error) {
	if !given(raw) {
		return nil, domain.Invalid(path, "missing", "say what changes, as in the body of a PATCH")
	}
	body, extra, err := decodeMember[documentBody](raw, path)
	if err != nil {
		return nil, err
	}
	return body.change(cfg, extra, false, path+".")
}

// updateDocuments changes up to 1,000 documents in one append, each by an
// update of its own, or those that a filter matches by the same one.
func (s *Server) updateDocuments(ctx context.Context, r *Request[updatesBody]) (any, error) {
	if len(r.Body.Updates) == 0 {
		if !given(r.Body.Filters) {
			return nil, domain.Invalid("updates", "missing", "give updates, or filters with update_data")
		}
		n, err := s.updateMatching(ctx, r.Call, r.Body.Filters, r.Body.Update)
		return map[string]any{"updated_count": n, "failed_count": 0, "results": []any{}, "message": fmt.Sprintf("%d documents updated", n)}, err
	}
	if given(r.Body.Filters) || given(r.Body.Update) {
		return nil, domain.Invalid("updates", "exclusive", "give either updates, or filters with update_data")
	}
	cfg, k, err := s.headCollection(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	var changes []commands.DocumentChange
	place := map[string]int{} // a document may have several updates; they are applied in order
	for i, u := range r.Body.Updates {
		change, err := changeIn(cfg, u.Update, fmt.Sprintf("updates[%d].update_data", i))
		if err != nil {
			return nil, err
		}
		if at, twice := place[u.DocumentID]; twice {
			before := changes[at].Change
			changes[at].Change = func(d domain.Document, f []domain.Feature) (domain.Document, []domain.Feature, error) {
				d, f, err := before(d, f)
				if err != nil {
					return d, f, err
				}
				return change(d, f)
			}
			continue
		}
		place[u.DocumentID] = len(changes)
		changes = append(changes, commands.DocumentChange{DocumentID: u.DocumentID, Change: change})
	}
	errs, err := s.Commands.ChangeDocuments(ctx, partOf(r.Call, 0), k.CollectionID, changes)
	if err != nil {
		return nil, err
	}
	results := make([]map[string]any, len(r.Body.Updates))
	failed := 0
	for i, u := range r.Body.Updates {
		results[i] = outcome(u.DocumentID, errs[place[u.DocumentID]])
		if errs[place[u.DocumentID]] != nil {
			failed++
		}
	}
	return map[string]any{"updated_count": len(results) - failed, "failed_count": failed, "results": results,
		"message": fmt.Sprintf("%d of %d updates applied", len(results)-failed, len(results))}, nil
}

func outcome(id string, err error) map[string]any {
	w := map[string]any{"document_id": id, "success": err == nil}
	if err != nil {
		w["error"] = err.Error()
	}
	return w
}

// headCollection is the collection of the path as of now, for writes.
func (s *Server) headCollection(ctx context.Context, c *Call) (domain.Config, domain.Collection, error) {
	cfg, _, err := s.config(ctx, c.namespaceLog())
	if err != nil {
		return cfg, domain.Collection{}, err
	}
	k, ok := cfg.Collection(c.Path("collection_identifier"))
	if !ok {
		return cfg, k, domain.NotFound("collection", c.Path("collection_identifier"))
	}
	return cfg, k, nil
}

// bulkUpdate changes all documents that a filter matches; without one, all of the collection.
func (s *Server) bulkUpdate(ctx context.Context, r *Request[updatesBody]) (any, error) {
	if len(r.Body.Updates) > 0 {
		return nil, domain.Invalid("updates", "unsupported", "bulk takes filters and update_data; for updates of single documents use documents/batch")
	}
	n, err := s.updateMatching(ctx, r.Call, r.Body.Filters, r.Body.Update)
	return map[string]any{"task_id": nil, "status": domain.StatusCompleted, "updated_count": n, "message": fmt.Sprintf("%d documents updated", n)}, err
}

func (s *Server) updateMatching(ctx context.Context, c *Call, filters, update json.RawMessage) (int, error) {
	cfg, k, err := s.headCollection(ctx, c)
	if err != nil {
		return 0, err
	}
	change, err := changeIn(cfg, update, "update_data")
	if err != nil {
		return 0, err
	}
	filter, err := domain.ParseLiteralFilter("filters", orAbsent(filters))
	if err != nil {
		return 0, err
	}
	updated, part, whole, err := s.doneBefore(ctx, c)
	if err != nil || whole {
		return updated, err
	}
	ids, err := s.matching(ctx, c, k.CollectionID, filter)
	if err != nil {
		return 0, err
	}
	for _, chunk := range chunks(ids) {
		changes := make([]commands.DocumentChange, len(chunk))
		for i, id := range chunk {
			changes[i] = commands.DocumentChange{DocumentID: id, Change: change}
		}
		errs, err := s.Commands.ChangeDocuments(ctx, partOf(c, part), k.CollectionID, changes)
		part++
		if err != nil {
			return updated, err
		}
		for _, err := range errs {
			if err == nil {
				updated++
			} else if domain.CodeOf(err) != domain.CodeNotFound { // gone since it was matched
				return updated, err
			}
		}
	}
	return updated, nil
}

func chunks(ids []string) [][]string { return slices.Collect(slices.Chunk(ids, bulkAppends)) }

// partOf is the caller of one append of several that one request makes.
func partOf(c *Call, part int) commands.In {
	in := c.In()
	in.IfMatch = nil // it is of one document
	if part > 0 {
		in.Operation += fmt.Sprintf(" %d", part)
	}
	return in
}

// doneBefore counts what the appends of an earlier request under the same
// idempotency key changed. whole says that there is no more to do; else what
// comes next is the given part.
func (s *Server) doneBefore(ctx context.Context, c *Call) (changed, part int, whole bool, err error) {
	for {
		n, ok, err := s.Commands.DocumentsDone(ctx, partOf(c, part))
		if err != nil || !ok {
			return changed, part, false, err
		}
		changed, part = changed+n, part+1
		if n < bulkAppends {
			return changed, part, true, nil
		}
	}
}

// matching lists the documents of a collection that a filter matches, at most maxInline.
func (s *Server) matching(ctx context.Context, c *Call, collection string, filter *domain.Filter) ([]string, error) {
	pin, err := s.Models.Pin(ctx, c.namespaceLog(), "documents")
	if err != nil {
		return nil, fmt.Errorf("pin a position: %w", err)
	}
	q := projections.DocumentQuery{Collections: []string{collection}, Filter: filter, Limit: 1000}
	n, err := s.Documents.Count(ctx, pin.At, q)
	if err != nil {
		return nil, err
	}
	if n > maxInline {
		return nil, &domain.Error{Code: domain.CodeInvalid, Reason: "too_many_rows", Message: fmt.Sprintf("filters: %d documents match; one request changes at most %d; narrow the filters and repeat", n, maxInline),
			Violations: []domain.Violation{{Path: "filters", Type: "range", Message: fmt.Sprintf("%d documents match, at most %d are changed", n, maxInline)}},
			Details:    map[string]any{"limits": map[string]any{"max_rows_inline": maxInline, "matched": n}}}
	}
	var ids []string
	for {
		page, err := s.Documents.List(ctx, pin.At, q)
		if err != nil {
			return nil, err
		}
		for _, row := range page.Items {
			ids = append(ids, row.DocumentID)
		}
		if q.After = page.Next; q.After == "" {
			return ids, nil
		}
	}
}

type deleteDocumentsBody struct {
	DocumentIDs []string        `json:"document_ids" validate:"max=1000"`
	Filters     json.RawMessage `json:"filters"`
	Reason      string          `json:"reason" validate:"max=500"`
}

// deleteDocuments ends documents by id, or those that a filter matches.
func (s *Server) deleteDocuments(ctx context.Context, r *Request[deleteDocumentsBody]) (any, error) {
	byID := len(r.Body.DocumentIDs) > 0
	if byID == given(r.Body.Filters) {
		return nil, domain.Invalid("document_ids", "exclusive", "give either document_ids or filters")
	}
	_, k, err := s.headCollection(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	ids := r.Body.DocumentIDs
	deleted, part := 0, 0
	if !byID {
		filter, err := domain.ParseLiteralFilter("filters", r.Body.Filters)
		if err == nil && filter == nil {
			err = domain.Invalid("filters", "empty", "an empty filter matches every document; say which are to be deleted, or delete the collection")
		}
		if err != nil {
			return nil, err
		}
		var whole bool
		if deleted, part, whole, err = s.doneBefore(ctx, r.Call); err == nil && !whole {
			ids, err = s.matching(ctx, r.Call, k.CollectionID, filter)
		}
		if err != nil {
			return nil, err
		}
	}
	reason := r.Body.Reason
	if reason == "" {
		reason = r.Reason
	}
	unique := slices.Clone(ids)
	slices.Sort(unique)
	unique = slices.Compact(unique)
	failed, lost := map[string]error{}, 0
	for _, chunk := range chunks(unique) {
		errs, err := s.Commands.DeleteDocuments(ctx, partOf(r.Call, part), k.CollectionID, chunk, reason)
		part++
		if err != nil {
			return nil, err
		}
		for i, id := range chunk {
			if failed[id] = errs[i]; errs[i] == nil {
				deleted++
			} else {
				lost++
			}
		}
	}
	results := []map[string]any{}
	if byID {
		for _, id := range ids {
			results = append(results, outcome(id, failed[id]))
		}
	}
	return map[string]any{"task_id": nil, "status": domain.StatusCompleted, "deleted_count": deleted, "failed_count": lost, "results": results,
		"limits": map[string]any{"max_rows_inline": maxInline, "matched": deleted + lost}, "message": fmt.Sprintf("%d documents deleted", deleted)}, nil
}
