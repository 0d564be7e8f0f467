package http

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"varve/domain"
	"varve/projections"
)

// listBody is the body of lists of configuration resources.
type listBody struct {
	PageBody
	Search        string          `json:"search"`
	Filters       json.RawMessage `json:"filters"`
	Sort          *sortWire       `json:"sort"`
	Sorts         []sortWire      `json:"sorts"`
	CaseSensitive bool            `json:"case_sensitive"`
	IncludeSystem bool            `json:"include_system"`
}

type sortWire struct {
	Field     string `json:"field"`
	Direction string `json:"direction" validate:"omitempty,oneof=asc desc"`
}

// found says whether a text occurs in what people name a resource by: ids,
// name, description and other texts at its top level, its metadata and tags;
// not in members' names and times.
func found(fields map[string]any, text string, fold bool) bool {
	if fold {
		text = strings.ToLower(text)
	}
	var in func(v any) bool
	in = func(v any) bool {
		switch v := v.(type) {
		case string:
			if fold {
				v = strings.ToLower(v)
			}
			return strings.Contains(v, text)
		case []any:
			return slices.ContainsFunc(v, in)
		case map[string]any:
			for _, inner := range v {
				if in(inner) {
					return true
				}
			}
		}
		return false
	}
	for name, v := range fields {
		_, isText := v.(string)
		if (isText && !strings.HasSuffix(name, "_at") || name == "metadata" || name == "tags") && in(v) {
			return true
		}
	}
	return false
}

// configList filters, sorts and pages resources of a configuration, which are
// in memory. Each is matched as its wire form shows it; the order is by the
// given sort, then by id.
func configList[V, W any](r *Request[listBody], all map[string]V, out func(V) W) (*listAnswer[W], []W, error) {
	p, err := r.Page()
	if err != nil {
		return nil, nil, err
	}
	search := r.Body.Search
	if q, ok := r.queryOne("search"); ok {
		search = q
	}
	filter, err := domain.ParseLiteralFilter("filters", orAbsent(r.Body.Filters))
	if err != nil {
		return nil, nil, err
	}
	sorts := r.Body.Sorts
	if r.Body.Sort != nil {
		sorts = append([]sortWire{*r.Body.Sort}, sorts...)
	}
	type row struct {
		id     string
		wire   W
		fields map[string]any
	}
	var rows []row
	for id, v := range all {
		w := out(v)
		raw, err := json.Marshal(w)
		if err != nil {
			return nil, nil, err
		}
		decoded, err := domain.DecodeValue(raw)
		if err != nil {
			return nil, nil, err
		}
		fields, _ := decoded.(map[string]any)
		if search != "" && !found(fields, search, !r.Body.CaseSensitive) || filter != nil && !filter.Match(fields) {
			continue
		}
		rows = append(rows, row{id, w, fields})
	}
	slices.SortFunc(rows, func(a, b row) int {
		for _, by := range sorts {
			x, okx := domain.Lookup(a.fields, by.Field)
			y, oky := domain.Lookup(b.fields, by.Field)
			c := 0
			switch {
			case okx && oky:
				c, _ = domain.CompareValues(x, y)
			case okx != oky:
				if okx {
					return -1
				}
				return 1
			}
			if by.Direction == "desc" {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return cmp.Compare(a.id, b.id)
	})
	matching := make([]W, len(rows))
	for i, row := range rows {
		matching[i] = row.wire
	}
	from := min(p.Offset, len(rows))
	if p.Cursor != "" {
		_, last := splitCursor(p.Cursor)
		from = slices.IndexFunc(rows, func(row row) bool { return row.id == last }) + 1
		if from == 0 { // what it named is gone: go on behind its place in the order of ids
			from, _ = slices.BinarySearchFunc(rows, last, func(row row, id string) int { return cmp.Compare(row.id, id) })
		}
	}
	to, next := min(from+p.Limit, len(rows)), ""
	if to < len(rows) {
		next = rows[to-1].id
		if r.pinned > 0 {
			next = utoa(r.pinned) + "." + next
		}
	}
	return listed(p, matching[from:to], next, len(rows)), matching, nil
}

// splitCursor splits the cursor of a list: the position at which the list was
// begun (0: the newest counts) and the id of the last item seen.
func splitCursor(cursor string) (position uint64, last string) {
	at, last, ok := strings.Cut(cursor, ".")
	if !ok {
		return 0, cursor
	}
	position, err := strconv.ParseUint(at, 10, 64)
	if err != nil {
		return 0, cursor
	}
	return position, last
}

// pinList is pin for lists of configuration: a further page is of the position
// of the first, so that nothing is missed or given twice while others write.
func (s *Server) pinList(ctx context.Context, r *Request[listBody]) (projections.At, domain.Config, error) {
	p, err := r.Page()
	if err != nil {
		return projections.At{}, domain.Config{}, err
	}
	at, cfg, err := s.pin(ctx, r.Call)
	if err == nil && p.Cursor != "" {
		position, _ := splitCursor(p.Cursor)
		if position == 0 || position > at.Position {
			return at, cfg, domain.Invalid("cursor", "format", "is not a cursor of this list; give the next_cursor of the page before, or none")
		}
		at.Position = position
		cfg, err = s.Configs.At(ctx, at.Log, position)
	}
	r.pinned = at.Position
	return at, cfg, err
}
