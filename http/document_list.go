package http

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"net/url"
	"slices"
	"strings"

	"varve/domain"
	"varve/projections"
)

// documentListBody is ListDocumentsRequest and NamespaceListDocumentsRequest.
type documentListBody struct {
	PageBody
	Filters       json.RawMessage `json:"filters"`
	Sort          json.RawMessage `json:"sort"`
	Sorts         json.RawMessage `json:"sorts"`
	Search        string          `json:"search"`
	CaseSensitive *bool           `json:"case_sensitive"`
	Partition     *partitionBody  `json:"partition"`
	PresignedURLs *bool           `json:"return_presigned_urls"`
	Vectors       *bool           `json:"return_vectors"`
	VectorNames   json.RawMessage `json:"return_vector_names"`
	GroupBy       string          `json:"group_by" validate:"max=1024"`
	Select        []string        `json:"select" validate:"max=100"`
	Expand        []string        `json:"expand" validate:"max=20"`
	CollectionIDs []string        `json:"collection_ids" validate:"max=1000"`
}

type partitionBody struct {
	Index int `json:"index" validate:"min=0"`
	Count int `json:"count" validate:"required,min=1,max=256"`
}

// has says whether a document is of the partition; without one all are.
func (p *partitionBody) has(documentID string) bool {
	if p == nil {
		return true
	}
	h := fnv.New32a()
	h.Write([]byte(documentID))
	return int(h.Sum32()%uint32(p.Count)) == p.Index
}

// documentList is ListDocumentsResponse.
type documentList struct {
	Results      []map[string]any `json:"results"`
	Groups       []documentGroup  `json:"groups,omitempty"`
	Unknown      []string         `json:"unknown_collection_ids,omitempty"`
	Pagination   pagination       `json:"pagination"`
	Total        *int             `json:"total_documents,omitempty"`
	Stats        map[string]any   `json:"stats,omitempty"`
	GroupByField string           `json:"group_by_field,omitempty"`
	Documents    []map[string]any `json:"documents,omitempty"` // ours: a copy, of documents/search
	Warned
}

type documentGroup struct {
	Key       any              `json:"group_key"`
	Documents []map[string]any `json:"documents"`
	Count     int              `json:"count"`
}

func (s *Server) listDocuments(ctx context.Context, r *Request[documentListBody]) (any, error) {
	at, _, k, err := s.collectionAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	return s.listing(ctx, r, at, []string{k.CollectionID})
}

func (s *Server) listAllDocuments(ctx context.Context, r *Request[documentListBody]) (any, error) {
	at, cfg, err := s.pin(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	return s.listingOf(ctx, r, at, cfg)
}

// listingOf lists documents of the collections that the body names, by id or
// name, or of all; those that do not exist are told, and are no error.
func (s *Server) listingOf(ctx context.Context, r *Request[documentListBody], at projections.At, cfg domain.Config) (*documentList, error) {
	named := r.Body.CollectionIDs
	if inQuery := queryNames(r.Call, "collection_ids"); len(inQuery) > 0 {
		named = inQuery
	}
	var ids, unknown []string
	for _, name := range named {
		if k, ok := cfg.Collection(name); ok && r.coversCollection(k.CollectionID) {
			ids = append(ids, k.CollectionID)
		} else {
			unknown = append(unknown, name)
		}
	}
	if len(named) == 0 && len(r.Key.Scopes) == 0 {
		return s.listing(ctx, r, at, nil) // of all collections, also of those that are made while a client pages
	}
	if len(named) == 0 {
		for id := range cfg.Collections {
			if r.coversCollection(id) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) == 0 {
		p, err := r.PageOr(10)
		return &documentList{Results: []map[string]any{}, Unknown: unknown, Pagination: p.answer("", 0)}, err
	}
	answer, err := s.listing(ctx, r, at, ids)
	if err == nil {
		answer.Unknown = unknown
	}
	return answer, err
}

// listing pages through documents of some collections, by groups where asked.
func (s *Server) listing(ctx context.Context, r *Request[documentListBody], at projections.At, collections []string) (*documentList, error) {
	p, err := r.PageOr(10)
	if err != nil {
		return nil, err
	}
	q := projections.DocumentQuery{Collections: collections, Search: r.Body.Search, After: p.Cursor, Offset: p.Offset, Limit: p.Limit, Total: p.IncludeTotal}
	if v, ok := r.queryOne("search"); ok {
		q.Search = v
	}
	if q.Filter, err = r.filter(); err != nil {
		return nil, err
	}
	if q.Sort, err = r.documentSorts(); err != nil {
		return nil, err
	}
	asked, err := r.vectorsAsked(r.Body.Vectors, r.Body.VectorNames)
	if err != nil {
		return nil, err
	}
	expand := append(slices.Clone(r.Body.Expand), queryNames(r.Call, "expand")...)
	show := func(row projections.DocumentRow, at projections.At) (map[string]any, error) {
		w, err := s.shown(ctx, r.Call, at, row, asked, expand)
		if err == nil && len(r.Body.Select) > 0 {
			w = selected(row, w, r.Body.Select)
		}
		return w, err
	}
	if part := r.Body.Partition; part != nil {
		switch {
		case part.Index >= part.Count:
			return nil, domain.Invalid("partition.index", "range", "is %d; of %d partitions the last is %d", part.Index, part.Count, part.Count-1)
		case q.Offset > 0 || q.Total || r.Body.GroupBy != "":
			return nil, domain.Invalid("partition", "unsupported", "a partition is read by cursor; leave out offset, include_total and group_by")
		}
	}
	if r.Body.GroupBy != "" {
		return s.groups(ctx, r, at, q, p, show)
	}
	page, err := s.Documents.List(ctx, at, q)
	if err != nil {
		return nil, err
	}
	r.writer.Header().Set("Varve-Position", utoa(page.At.Position))
	answer := &documentList{Results: make([]map[string]any, 0, len(page.Items))}
	for _, row := range page.Items {
		if !r.Body.Partition.has(row.DocumentID) {
			continue
		}
		w, err := show(row, page.At)
		if err != nil {
			return nil, err
		}
		answer.Results = append(answer.Results, w)
	}
	total := -1
	if page.Total != nil {
		total = *page.Total
		answer.Total, answer.Stats = page.Total, map[string]any{"total_documents": total, "avg_blobs_per_document": 0}
	}
	answer.Pagination = p.answer(page.Next, total)
	return answer, nil
}

// documentSorts reads sort and sorts of the body, or sort of the query: JSON
// ({"field", "direction"} or a list of them) or field:direction.
func (r *Request[B]) documentSorts() ([]projections.Sort, error) {
	if v, ok := r.queryOne("sort"); ok {
		if strings.HasPrefix(v, "{") || strings.HasPrefix(v, "[") {
			return sortsIn(json.RawMessage(v), "query.sort")
		}
		return sortNamed(v, "query.sort")
	}
	sorts, err := sortsIn(r.Members["sort"], "sort")
	if err != nil {
		return nil, err
	}
	more, err := sortsIn(r.Members["sorts"], "sorts")
	return append(sorts, more...), err
}

func sortsIn(raw json.RawMessage, path string) ([]projections.Sort, error) {
	if !given(raw) {
		return nil, nil
	}
	var one struct{ Field, Direction string }
	var name string
	var list []json.RawMessage
	switch {
	case json.Unmarshal(raw, &name) == nil:
		return sortNamed(name, path)
	case json.Unmarshal(raw, &one) == nil:
		return sortNamed(one.Field+":"+one.Direction, path)
	case json.Unmarshal(raw, &list) == nil:
		var all []projections.Sort
		for _, item := range list {
			sorts, err := sortsIn(item, path)
			if err != nil {
				return nil, err
			}
			all = append(all, sorts...)
		}
		return all, nil
	}
	return nil, domain.Invalid(path, "sort", `must be {"field": …, "direction": "asc" or "desc"}, a list of these, or field:direction`)
}

// sortNamed reads field or field:direction.
func sortNamed(text, path string) ([]projections.Sort, error) {
	field, direction := text, ""
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		field, direction = text[:i], strings.ToLower(text[i+1:])
	}
	if field == "" {
		return nil, domain.Invalid(path, "missing", "a sort needs a field")
	}
	if direction != "" && direction != "asc" && direction != "desc" {
		return nil, domain.Invalid(path, "enum", "the direction is %q; it must be asc or desc", direction)
	}
	return []projections.Sort{{Field: field, Desc: direction == "desc"}}, nil
}

// queryNames reads a list of the query: the key repeated, or names joined by commas.
func queryNames(c *Call, key string) []string {
	var names []string
	for _, v := range c.Query[key] {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}

type documentQueriesBody struct {
	Queries []struct {
		Key     string          `json:"key" validate:"required,max=128"`
		Request json.RawMessage `json:"request" validate:"required"`
	} `json:"queries" validate:"required,min=1,max=10,dive"`
}

// listDocumentsBatch runs up to ten lists at one position; one that is wrong
// says so in its place.
func (s *Server) listDocumentsBatch(ctx context.Context, r *Request[documentQueriesBody]) (any, error) {
	at, cfg, err := s.pin(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	results := make([]map[string]any, len(r.Body.Queries))
	for i, q := range r.Body.Queries {
		result := map[string]any{"key": q.Key}
		results[i] = result
		answer, err := s.subList(ctx, r.Call, q.Request, at, cfg)
		switch domain.CodeOf(err) {
		case "":
			result["response"] = answer
		case domain.CodeInvalid, domain.CodeBadRequest, domain.CodeNotFound:
			result["error"] = err.Error()
		default:
			return nil, err
		}
	}
	return map[string]any{"results": results}, nil
}

// subList runs a list that stands inside a body: the query string is not its own.
func (s *Server) subList(ctx context.Context, c *Call, raw json.RawMessage, at projections.At, cfg domain.Config) (*documentList, error) {
	body, _, err := decodeMember[documentListBody](raw, "request")
	if err != nil {
		return nil, err
	}
	own := *c
	own.Query = url.Values{}
	r := &Request[documentListBody]{Call: &own, Body: body}
	if err := json.Unmarshal(raw, &r.Members); err != nil {
		return nil, err
	}
	return s.listingOf(ctx, r, at, cfg)
}

type documentSearchBody struct {
	documentListBody
	Query json.RawMessage `json:"query"`
}

// searchDocuments lists documents that hold every word of a text in some field.
func (s *Server) searchDocuments(ctx context.Context, r *Request[documentSearchBody]) (any, error) {
	at, cfg, err := s.pin(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	list := &Request[documentListBody]{Call: r.Call, Body: r.Body.documentListBody, Members: r.Members, Unknown: r.Unknown}
	if given(r.Body.Query) {
		var query struct{ Text, Value, Query string }
		if json.Unmarshal(r.Body.Query, &list.Body.Search) != nil {
			if json.Unmarshal(r.Body.Query, &query) != nil || query.Text+query.Value+query.Query == "" {
				return nil, domain.Invalid("query", "string_type", `must be a text, or {"text": …}; vectors are searched by retrievers`)
			}
			list.Body.Search = query.Text + query.Value + query.Query
		}
	}
	answer, err := s.listingOf(ctx, list, at, cfg)
	if err == nil {
		answer.Documents = answer.Results
	}
	return answer, err
}
