package projections

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"varve/domain"
)

// DocumentQuery selects, orders and pages documents.
type DocumentQuery struct {
	Collections []string       // ids; none: all
	Filter      *domain.Filter // nil: all
	Search      string         // words, each of which some text of the document must hold; case is folded
	Sort        []Sort         // then by document id; none: by collection, oldest version first
	After       string         // cursor of the page before: goes on at its position
	Offset      int
	Limit       int  // 0 means 100
	Total       bool // count all that match
}

const documentColumns = `SELECT document_id, valid_from, valid_to, version, created, updated, data FROM documents JOIN documents_data ON documents_data.row = documents.row `

func scanDocument(rows *sql.Rows) (DocumentRow, error) {
	var d DocumentRow
	var data sql.RawBytes
	var from, to, version, created, updated int64
	var id string
	if err := rows.Scan(&id, &from, &to, &version, &created, &updated, &data); err != nil {
		return d, err
	}
	if err := json.Unmarshal(data, &d.Document); err != nil {
		return d, err
	}
	d.Position, d.Version, d.Created, d.Updated = uint64(from), uint64(version), micros(created), micros(updated)
	if to != open {
		d.Ended = uint64(to)
	}
	return d, nil
}

// Document finds one document; domain.NotFound where it does not exist at the position.
func (d *Documents) Document(ctx context.Context, at At, id string) (DocumentRow, error) {
	var found DocumentRow
	err := d.query(ctx, documentColumns+`WHERE log = ? AND document_id = ? AND valid_from <= ? ORDER BY valid_from DESC LIMIT 1`,
		[]any{logKey(at.Log), id, int64(at.Position)}, func(rows *sql.Rows) (err error) {
			found, err = scanDocument(rows)
			return err
		})
	if err != nil {
		return DocumentRow{}, err
	}
	if found.Position == 0 || found.Ended != 0 && found.Ended <= at.Position {
		return DocumentRow{}, domain.NotFound("document", id)
	}
	return found, nil
}

// Documents finds documents in the order given; ids that do not exist are left out.
func (d *Documents) Documents(ctx context.Context, at At, ids []string) ([]DocumentRow, error) {
	return readByID(ctx, d.query, documentColumns+`WHERE log = ? AND valid_from <= ? AND valid_to > ? AND document_id`, at, ids, scanDocument,
		func(row DocumentRow) string { return row.DocumentID })
}

// where is the range condition of a query as of a position.
func (q *DocumentQuery) where(at At) (string, []any) {
	text := `WHERE log = ? AND valid_from <= ? AND valid_to > ?`
	args := []any{logKey(at.Log), int64(at.Position), int64(at.Position)}
	if len(q.Collections) > 0 {
		list, padded := marks(len(q.Collections))
		text += ` AND collection_id IN (` + list + `)`
		for _, id := range q.Collections {
			args = append(args, id)
		}
		args = pad(args, padded+3)
	}
	return text, args
}

// place is where a list by collection and position goes on.
type place struct {
	Collection string `json:"c"`
	Position   uint64 `json:"p"`
}

// each calls visit with every document that the query selects and that comes
// after a place, by collection and then by the position of its version, until it
// gives errEnough. view is nil where nothing needed it.
func (d *Documents) each(ctx context.Context, at At, q *DocumentQuery, after place, viewed bool, visit func(DocumentRow, map[string]any) error) error {
	words := searchWords(q.Search)
	viewed = viewed || q.Filter != nil || len(words) > 0
	enough, n := false, 0
	scan := func(rows *sql.Rows) error {
		row, err := scanDocument(rows)
		if err != nil {
			return err
		}
		n++
		after = place{row.CollectionID, row.Position}
		var view map[string]any
		if viewed {
			view = row.View()
			if !q.Filter.Match(view) || !searched(view, words) {
				return nil
			}
		}
		err = visit(row, view)
		enough = errors.Is(err, errEnough)
		return err
	}
	p := int64(at.Position)
	// all reads in pieces, of which the first is what a page needs: an answer that
	// nobody reads to its end is sent to its end.
	all := func(text string, from func() []any) error {
		for size := q.piece(viewed); !enough; size = piece {
			n = 0
			if err := d.query(ctx, documentColumns+text+` AND valid_from <= ? AND valid_to > ? ORDER BY collection_id, valid_from LIMIT ?`, append(from(), p, p, size), scan); err != nil || n < size {
				return err
			}
		}
		return nil
	}
	if len(q.Collections) == 0 {
		return all(`WHERE log = ? AND (collection_id, valid_from) > (?, ?)`, func() []any { return []any{logKey(at.Log), after.Collection, int64(after.Position)} })
	}
	collections := slices.Clone(q.Collections)
	slices.Sort(collections)
	for _, id := range slices.Compact(collections) {
		if id < after.Collection || enough {
			continue
		}
		err := all(`WHERE log = ? AND collection_id = ? AND valid_from > ?`, func() []any {
			if id == after.Collection {
				return []any{logKey(at.Log), id, int64(after.Position)}
			}
			return []any{logKey(at.Log), id, int64(0)}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// piece is how many rows are read at once where all of a list is looked through.
const piece = 2000

// piece is how many rows to read first.
func (q *DocumentQuery) piece(viewed bool) int {
	if viewed || q.Limit < 0 {
		return piece
	}
	return min(limitOf(q.Limit)+q.Offset+1, piece)
}

// List pages through documents.
func (d *Documents) List(ctx context.Context, at At, q DocumentQuery) (Page[DocumentRow], error) {
	page := Page[DocumentRow]{At: at}
	digest := queryDigest("documents", q.Collections, q.Filter, q.Search, q.Sort)
	c, err := readCursor(q.After, digest, at.Position)
	if err != nil {
		return page, err
	}
	page.At.Position = c.Position
	limit, offset := limitOf(q.Limit), q.Offset
	if q.After != "" {
		offset = 0
	}
	if q.Total {
		n, err := d.Count(ctx, page.At, q)
		if err != nil {
			return page, err
		}
		page.Total = &n
	}
	if len(q.Sort) > 0 {
		err = page.sorted(c, q.Sort, offset, limit,
			func(add func(view map[string]any, id string) error) error {
				return d.each(ctx, page.At, &q, place{}, true, func(row DocumentRow, view map[string]any) error { return add(view, row.DocumentID) })
			},
			func(ids []string) ([]DocumentRow, error) { return d.Documents(ctx, page.At, ids) })
		return page, err
	}
	var after place
	if c.After != "" {
		if err := json.Unmarshal([]byte(c.After), &after); err != nil {
			return page, domain.Invalid("cursor", "format", "is not a cursor of this list; give the next_cursor of the page before, or none")
		}
	}
	err = d.each(ctx, page.At, &q, after, false, func(row DocumentRow, _ map[string]any) error {
		if offset > 0 {
			offset--
			return nil
		}
		if len(page.Items) == limit {
			last := page.Items[limit-1]
			b, err := json.Marshal(place{last.CollectionID, last.Position})
			if err != nil {
				return err
			}
			c.After = string(b)
			page.Next = c.text()
			return errEnough
		}
		page.Items = append(page.Items, row)
		return nil
	})
	return page, err
}

// Count counts what a query selects; its order and paging are ignored.
func (d *Documents) Count(ctx context.Context, at At, q DocumentQuery) (int, error) {
	n := 0
	if q.Filter == nil && q.Search == "" {
		text, args := q.where(at)
		err := d.query(ctx, `SELECT count(*) FROM documents `+text, args, func(rows *sql.Rows) error { return rows.Scan(&n) })
		return n, err
	}
	err := d.each(ctx, at, &q, place{}, true, func(DocumentRow, map[string]any) error { n++; return nil })
	return n, err
}

// CountByCollection counts the documents of every collection of a log;
// collections without documents are absent.
func (d *Documents) CountByCollection(ctx context.Context, at At) (map[string]int, error) {
	counts := map[string]int{}
	q := DocumentQuery{}
	text, args := q.where(at)
	err := d.query(ctx, `SELECT collection_id, count(*) FROM documents `+text+` GROUP BY collection_id`, args, func(rows *sql.Rows) error {
		var id string
		var n int
		if err := rows.Scan(&id, &n); err != nil {
			return err
		}
		counts[id] = n
		return nil
	})
	return counts, err
}

// ValueCount is a value and how many documents have it.
type ValueCount struct {
	Value any // as domain.DecodeValue gives it
	Count int
}

// Distinct counts the values of a field over what a query selects, the most
// frequent first, at most limit (0: all); total is how many distinct values there
// are. Of a field that holds an array each element counts once a document.
func (d *Documents) Distinct(ctx context.Context, at At, q DocumentQuery, field string, limit int) (values []ValueCount, total int, err error) {
	counts := map[string]*ValueCount{}
	err = d.each(ctx, at, &q, place{}, true, func(_ DocumentRow, view map[string]any) error {
		v, ok := domain.Lookup(view, field)
		if !ok {
			return nil
		}
		list, isList := v.([]any)
		if !isList {
			list = []any{v}
		}
		seen := map[string]bool{}
		for _, v := range list {
			k := string(domain.EncodeValue(v))
			if seen[k] {
				continue
			}
			seen[k] = true
			if counts[k] == nil {
				counts[k] = &ValueCount{Value: v}
			}
			counts[k].Count++
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b].Count, counts[a].Count), cmp.Compare(a, b))
	})
	for _, k := range keys {
		if limit > 0 && len(values) == limit {
			break
		}
		values = append(values, *counts[k])
	}
	return values, len(keys), nil
}
