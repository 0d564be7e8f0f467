package http

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
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

const (
	maxGrouped       = 10000 // documents that are read for a list by groups
	maxGroupDocument = 100   // of a group that are shown
)

// groups lists documents by the values of a field: the largest groups first,
// paged by group. Documents without the field are in the group of null.
func (s *Server) groups(ctx context.Context, r *Request[documentListBody], at projections.At, q projections.DocumentQuery, p Paging, show func(projections.DocumentRow, projections.At) (map[string]any, error)) (*documentList, error) {
	skip := p.Offset
	if p.Cursor != "" {
		position, n, ok := groupCursor(p.Cursor)
		if !ok || position > at.Position {
			return nil, domain.Invalid("cursor", "format", "is not a cursor of a list by groups; give the next_cursor of the page before, or none")
		}
		at.Position, skip = position, n
	}
	type group struct {
		key  any
		rows []projections.DocumentRow
	}
	byKey := map[string]*group{}
	total := 0
	q.After, q.Offset, q.Limit, q.Total = "", 0, 1000, false
	for more := true; more; {
		page, err := s.Documents.List(ctx, at, q)
		if err != nil {
			return nil, err
		}
		for _, row := range page.Items {
			key, _ := domain.Lookup(DocumentFields(row), r.Body.GroupBy)
			text := string(domain.EncodeValue(key))
			if byKey[text] == nil {
				byKey[text] = &group{key: key}
			}
			byKey[text].rows = append(byKey[text].rows, row)
		}
		if total += len(page.Items); total > maxGrouped {
			return nil, &domain.Error{Code: domain.CodeInvalid, Reason: "too_many_to_group", Message: fmt.Sprintf("group_by: more than %d documents match; narrow the list with filters, or ask documents/distinct for the values and their counts", maxGrouped),
				Violations: []domain.Violation{{Path: "group_by", Type: "range", Message: fmt.Sprintf("more than %d documents match", maxGrouped)}}}
		}
		q.After, more = page.Next, page.Next != ""
	}
	names := slices.SortedFunc(maps.Keys(byKey), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(byKey[b].rows), len(byKey[a].rows)), cmp.Compare(a, b))
	})
	from := min(skip, len(names))
	to, next := min(from+p.Limit, len(names)), ""
	if to < len(names) {
		next = fmt.Sprintf("g%d.%d", at.Position, to)
	}
	answer := &documentList{Results: []map[string]any{}, Groups: []documentGroup{}, GroupByField: r.Body.GroupBy, Pagination: p.answer(next, len(names))}
	for _, name := range names[from:to] {
		g := documentGroup{Key: byKey[name].key, Documents: []map[string]any{}, Count: len(byKey[name].rows)}
		for _, row := range byKey[name].rows[:min(maxGroupDocument, g.Count)] {
			w, err := show(row, at)
			if err != nil {
				return nil, err
			}
			g.Documents = append(g.Documents, w)
		}
		answer.Groups = append(answer.Groups, g)
	}
	if p.IncludeTotal {
		answer.Total = &total
		answer.Stats = map[string]any{"total_documents": total, "total_groups": len(names), "avg_documents_per_group": json.Number(strconv.FormatFloat(float64(total)/float64(max(1, len(names))), 'f', 2, 64))}
	}
	return answer, nil
}

func groupCursor(text string) (position uint64, skip int, ok bool) {
	n, err := fmt.Sscanf(text, "g%d.%d", &position, &skip)
	return position, skip, err == nil && n == 2 && skip >= 0
}
