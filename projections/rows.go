package projections

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"

	"varve/domain"
)

// Page is one page of a list. Next is the cursor of the page after it, empty at
// the end. Total is set where the query asked for it. At is where the page was
// read: a cursor goes on at the position of its first page.
type Page[T any] struct {
	Items []T
	Next  string
	Total *int
	At    At
}

// Sort is one key of an order. Values are compared as the filter language
// compares them; rows without the field come last.
type Sort struct {
	Field string
	Desc  bool
}

// cursor is where a list goes on. It is shown to clients as opaque text.
type cursor struct {
	Position uint64 `json:"p"`           // as of which the list is read
	Query    string `json:"q"`           // digest of what was asked
	After    string `json:"a,omitempty"` // the last item, where the order is the list's own
	Skip     int    `json:"s,omitempty"` // items before, in any other order
}

func (c cursor) text() string {
	b, _ := json.Marshal(c)
	return base64.RawURLEncoding.EncodeToString(b)
}

// readCursor reads what text wrote. An empty text is a first page.
func readCursor(text, query string, position uint64) (cursor, error) {
	c := cursor{Position: position, Query: query}
	if text == "" {
		return c, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		return c, domain.Invalid("cursor", "format", "is not a cursor of this server; give the next_cursor of the page before, or none")
	}
	if c.Query != query {
		return c, domain.Invalid("cursor", "query", "belongs to a list with other filters, order or collections; repeat the request that it came from")
	}
	if c.Position > position {
		return c, domain.Invalid("cursor", "position", "is of position %d, which this list has not reached; the newest is %d", c.Position, position)
	}
	return c, nil
}

// queryDigest is what ties a cursor to its query.
func queryDigest(parts ...any) string {
	b, _ := json.Marshal(parts)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

// limitOf gives a page's size.
func limitOf(limit int) int {
	if limit <= 0 {
		return 100
	}
	return limit
}

// sortKey is an item while it is being ordered.
type sortKey struct {
	values []any // as domain.DecodeValue gives them; missing where nil
	id     string
}

func keysOf(view map[string]any, sorts []Sort, id string) sortKey {
	k := sortKey{id: id, values: make([]any, len(sorts))}
	for i, s := range sorts {
		k.values[i], _ = domain.Lookup(view, s.Field)
	}
	return k
}

// rank puts values that cannot be compared into a fixed order of kinds, missing ones last.
func rank(v any) int {
	switch v.(type) {
	case bool:
		return 0
	case string:
		return 2
	case []any:
		return 3
	case map[string]any:
		return 4
	case nil:
		return 5
	}
	return 1 // numbers
}

func compareKeys(a, b sortKey, sorts []Sort) int {
	for i, s := range sorts {
		x, y := a.values[i], b.values[i]
		c, ok := 0, false
		if x != nil && y != nil {
			c, ok = domain.CompareValues(x, y)
		}
		if !ok {
			if c = cmp.Compare(rank(x), rank(y)); c != 0 && (x == nil || y == nil) {
				return c
			}
		}
		if s.Desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(a.id, b.id)
}

func sortKeys(keys []sortKey, sorts []Sort) {
	slices.SortFunc(keys, func(a, b sortKey) int { return compareKeys(a, b, sorts) })
}

// cut gives the part of a sorted list that a page shows, and how many items lie before its end.
func cut[T any](all []T, skip, limit int) (part []T, end int) {
	start := min(skip, len(all))
	end = min(start+limit, len(all))
	return all[start:end], end
}

// sorted fills a page in another order than its list's own: each adds the keys of
// all that match, and read reads the page's items again by their ids.
func (p *Page[T]) sorted(c cursor, sorts []Sort, offset, limit int, each func(add func(view map[string]any, id string) error) error, read func(ids []string) ([]T, error)) error {
	var keys []sortKey
	err := each(func(view map[string]any, id string) error {
		keys = append(keys, keysOf(view, sorts, id))
		return nil
	})
	if err != nil {
		return err
	}
	sortKeys(keys, sorts)
	part, end := cut(keys, c.Skip+offset, limit)
	ids := make([]string, len(part))
	for i, k := range part {
		ids[i] = k.id
	}
	if p.Items, err = read(ids); err != nil {
		return err
	}
	if end < len(keys) {
		c.Skip = end
		p.Next = c.text()
	}
	return nil
}

// readByID reads rows as of a position in the order of ids; those that do not exist
// are left out. The text selects by log and position and ends with the column of ids.
func readByID[T any](ctx context.Context, query func(context.Context, string, []any, func(*sql.Rows) error) error, text string, at At, ids []string, scan func(*sql.Rows) (T, error), id func(T) string) ([]T, error) {
	found := make(map[string]T, len(ids))
	for part := range slices.Chunk(ids, 256) {
		list, padded := marks(len(part))
		args := []any{logKey(at.Log), int64(at.Position), int64(at.Position)}
		for _, id := range part {
			args = append(args, id)
		}
		err := query(ctx, text+` IN (`+list+`)`, pad(args, padded+3), func(rows *sql.Rows) error {
			row, err := scan(rows)
			found[id(row)] = row
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	out := make([]T, 0, len(ids))
	for _, id := range ids {
		if row, ok := found[id]; ok {
			out = append(out, row)
		}
	}
	return out, nil
}
