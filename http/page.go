package http

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"varve/domain"
)

// Paging of a list, as the reference asks for it: from the query or the body,
// under every alias.
type Paging struct {
	Limit        int    // 1..1000
	Offset       int    // 0..; 0 where Cursor is set
	Cursor       string // opaque; "" on the first page
	IncludeTotal bool
}

const (
	defaultLimit = 100
	maxLimit     = 1000
	maxOffset    = 10000
)

// PageBody is embedded by the bodies of lists, so that its members are known.
type PageBody struct {
	BodyLimit        *int    `json:"limit"`
	BodyPageSize     *int    `json:"page_size"`
	BodyOffset       *int    `json:"offset"`
	BodySkip         *int    `json:"skip"`
	BodyPage         *int    `json:"page"`
	BodyCursor       *string `json:"cursor"`
	BodyNextCursor   *string `json:"next_cursor"`
	BodyAfter        *string `json:"after"`
	BodyIncludeTotal *bool   `json:"include_total"`
}

// Page reads the paging members of query and body; the query wins. Values out
// of bounds are errors that name the bounds.
func (r *Request[B]) Page() (Paging, error) { return r.pageOf(r.Members, defaultLimit) }

// PageOr is Page with another default limit.
func (r *Request[B]) PageOr(limit int) (Paging, error) { return r.pageOf(r.Members, limit) }

func (c *Call) pageOf(members map[string]json.RawMessage, limit int) (Paging, error) {
	p := Paging{Limit: limit}
	in := pageReader{c: c, members: members}
	if v, ok := in.number(1, maxLimit, "limit", "page_size"); ok {
		p.Limit = v
	}
	if v, ok := in.number(0, maxOffset, "offset", "skip"); ok {
		p.Offset = v
	} else if v, ok := in.number(1, math.MaxInt32, "page"); ok {
		p.Offset = (v - 1) * p.Limit
	}
	p.Cursor = in.text("cursor", "next_cursor", "after")
	if p.Cursor != "" {
		p.Offset = 0
	}
	p.IncludeTotal = in.flag("include_total")
	return p, invalid(in.wrong)
}

// pageReader looks for members in the query, then in the body.
type pageReader struct {
	c       *Call
	members map[string]json.RawMessage
	wrong   []domain.Violation
}

func (in *pageReader) find(names []string) (where, value string, ok bool) {
	for _, n := range names {
		if v, ok := in.c.queryOne(n); ok {
			return "query." + n, v, true
		}
	}
	for _, n := range names {
		if raw, ok := in.members[n]; ok && string(raw) != "null" {
			return n, string(raw), true
		}
	}
	return "", "", false
}

func (in *pageReader) refuse(path, kind, message string) {
	in.wrong = append(in.wrong, domain.Violation{Path: path, Type: kind, Message: message})
}

func (in *pageReader) number(lo, hi int, names ...string) (int, bool) {
	where, v, ok := in.find(names)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		in.refuse(where, "int_parsing", "must be an integer")
		return 0, false
	}
	if n < lo || n > hi {
		in.refuse(where, "range", "is "+strconv.Itoa(n)+"; it must be from "+strconv.Itoa(lo)+" to "+strconv.Itoa(hi))
		return 0, false
	}
	return n, true
}

func (in *pageReader) text(names ...string) string {
	where, v, ok := in.find(names)
	if !ok {
		return ""
	}
	if !strings.HasPrefix(where, "query.") {
		var s string
		if err := json.Unmarshal([]byte(v), &s); err != nil {
			in.refuse(where, "string_type", "must be a string")
			return ""
		}
		return s
	}
	return v
}

func (in *pageReader) flag(name string) bool {
	where, v, ok := in.find([]string{name})
	if !ok {
		return false
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		in.refuse(where, "bool_parsing", "must be true or false")
	}
	return b
}

// pagination is PaginationResponse of the reference; every member may be null.
type pagination struct {
	Total        *int    `json:"total"`
	Page         *int    `json:"page"`
	PageSize     *int    `json:"page_size"`
	TotalPages   *int    `json:"total_pages"`
	NextPage     *string `json:"next_page"`
	PreviousPage *string `json:"previous_page"`
	NextCursor   *string `json:"next_cursor"`
}

// listAnswer is the envelope of a list. Required by the reference nearly
// everywhere are results and pagination; some ask for total_count.
type listAnswer[T any] struct {
	Results    []T        `json:"results"`
	Pagination pagination `json:"pagination"`
	TotalCount *int       `json:"total_count,omitempty"`
	// Warnings are objects in lists (only documents/list has texts, and its own type).
	Warnings []listWarning `json:"warnings,omitempty"`
}

// listWarning is DegradedEntry of the reference.
type listWarning struct {
	Resource string `json:"resource"`
	Reason   string `json:"reason"`
	NextStep string `json:"next_step"`
}

func (a *listAnswer[T]) warn(texts []string) {
	for _, text := range texts {
		a.Warnings = append(a.Warnings, listWarning{"request", text, "leave the member out, or look it up in /openapi.json"})
	}
}

// listed makes the envelope of one page. next is the cursor of the page after
// it ("" for none); total is negative where it was not counted.
func listed[T any](p Paging, results []T, next string, total int) *listAnswer[T] {
	if results == nil {
		results = []T{}
	}
	a := &listAnswer[T]{Results: results, Pagination: p.answer(next, total)}
	if total >= 0 {
		a.TotalCount = &total
	}
	return a
}

func (p Paging) answer(next string, total int) pagination {
	size, page := p.Limit, p.Offset/p.Limit+1
	a := pagination{PageSize: &size}
	if p.Cursor == "" {
		a.Page = &page
	}
	if next != "" {
		a.NextCursor = &next
	}
	if p.IncludeTotal && total >= 0 {
		pages := (total + size - 1) / size
		a.Total, a.TotalPages = &total, &pages
	}
	return a
}

// pageOfAll cuts a page out of a list that is in memory whole and sorted by
// key, which must be unique. Its cursor is the last key, so that a page stays
// where it is while items before it come and go.
func pageOfAll[T any](p Paging, all []T, key func(T) string) (page []T, next string) {
	from := min(p.Offset, len(all))
	if p.Cursor != "" {
		from, _ = slices.BinarySearchFunc(all, p.Cursor, func(item T, cursor string) int {
			if key(item) <= cursor {
				return -1
			}
			return 1
		})
	}
	to := min(from+p.Limit, len(all))
	page = all[from:to]
	if to < len(all) && len(page) > 0 {
		next = key(page[len(page)-1])
	}
	return page, next
}
