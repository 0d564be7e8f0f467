package http

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"varve/domain"
	"varve/projections"
)

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
