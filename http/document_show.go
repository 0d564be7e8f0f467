package http

import (
	"cmp"
	"context"
	"strings"

	"varve/domain"
	"varve/projections"
)

// selected keeps the fields of a document that select names, by path, and what
// identifies it. Values are read from the decoded document, so that paths go
// through arrays as in filters; what was expanded or hydrated stays.
func selected(row projections.DocumentRow, w map[string]any, paths []string) map[string]any {
	out := map[string]any{"document_id": row.DocumentID, "collection_id": row.CollectionID}
	for _, name := range []string{"_vectors", "_expanded"} {
		if v, ok := w[name]; ok {
			out[name] = v
		}
	}
	fields := DocumentFields(row)
	for _, path := range paths {
		if v, ok := w[path]; ok {
			out[path] = v
			continue
		}
		v, ok := domain.Lookup(fields, path)
		if !ok {
			continue
		}
		steps := strings.Split(path, ".")
		place := out
		for _, step := range steps[:len(steps)-1] {
			next, ok := place[step].(map[string]any)
			if !ok {
				next = map[string]any{}
				place[step] = next
			}
			place = next
		}
		place[steps[len(steps)-1]] = v
	}
	return out
}

// Limits of expand, as the reference states them.
const (
	maxChildren   = 100
	maxReferences = 50
)

// expand adds what documents refer to under _expanded: parent, root_object,
// ancestors, children, or the documents whose ids a field holds. What does not
// exist is null, or missing from its list.
func (s *Server) expand(ctx context.Context, c *Call, at projections.At, row projections.DocumentRow, w map[string]any, names []string) error {
	if len(names) == 0 {
		return nil
	}
	expanded := map[string]any{}
	for _, name := range names {
		v, err := s.expanded(ctx, c, at, row, name)
		if err != nil {
			return err
		}
		expanded[name] = v
	}
	w["_expanded"] = expanded
	return nil
}

func (s *Server) expanded(ctx context.Context, c *Call, at projections.At, row projections.DocumentRow, name string) (any, error) {
	switch name {
	case "parent":
		return s.one(ctx, c, at, row.Lineage.SourceDocumentID)
	case "root_object":
		id := cmp.Or(row.Lineage.RootObjectID, row.Lineage.SourceObjectID)
		if id == "" {
			return nil, nil
		}
		o, err := s.Objects.Object(ctx, at, "", id)
		if domain.CodeOf(err) == domain.CodeNotFound {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return objectOut(o.Object, o.Created, o.Updated, o.Status, o.Error), nil
	case "ancestors":
		rows, err := s.Documents.Ancestors(ctx, at, row.DocumentID)
		return documentsOut(c.covered(rows), c.Namespace.ID), err
	case "children":
		rows, err := s.Documents.Children(ctx, at, row.DocumentID, maxChildren)
		return documentsOut(c.covered(rows), c.Namespace.ID), err
	}
	v, ok := domain.Lookup(DocumentFields(row), name)
	if !ok {
		return nil, nil
	}
	switch v := v.(type) {
	case string:
		return s.one(ctx, c, at, v)
	case []any:
		var ids []string
		for _, item := range v {
			if id, ok := item.(string); ok {
				ids = append(ids, id)
			}
		}
		if len(ids) > maxReferences {
			return nil, domain.Invalid("expand", "range", "%s of %s refers to %d documents; at most %d are expanded", name, row.DocumentID, len(ids), maxReferences)
		}
		rows, err := s.Documents.Documents(ctx, at, ids)
		return documentsOut(c.covered(rows), c.Namespace.ID), err
	}
	return nil, nil
}

func (s *Server) one(ctx context.Context, c *Call, at projections.At, id string) (any, error) {
	if id == "" {
		return nil, nil
	}
	rows, err := s.Documents.Documents(ctx, at, []string{id})
	if rows = c.covered(rows); err != nil || len(rows) == 0 {
		return nil, err
	}
	return documentOut(rows[0], c.Namespace.ID), nil
}

func documentsOut(rows []projections.DocumentRow, namespace string) []map[string]any {
	list := make([]map[string]any, len(rows))
	for i, row := range rows {
		list[i] = documentOut(row, namespace)
	}
	return list
}
