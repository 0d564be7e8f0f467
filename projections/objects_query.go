package projections

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"varve/domain"
)

// ObjectQuery selects, orders and pages objects.
type ObjectQuery struct {
	BucketID string // empty: of all buckets
	Status   string // empty: all
	Filter   *domain.Filter
	Search   string // words, each of which some text of the object must hold; case is folded
	Sort     []Sort // then by object id
	After    string // cursor of the page before: goes on at its position
	Offset   int
	Limit    int // 0 means 100
	Total    bool
}

// View is the object as filters, sorts and searches see it: the user's fields
// and the reference's members at the root, metadata and blobs beside them.
func (r *ObjectRow) View() map[string]any {
	v := make(map[string]any, len(r.Fields)+10)
	addFields(v, r.Fields)
	addField(v, "metadata", r.Metadata)
	addField(v, "edges", r.Edges)
	if b, err := json.Marshal(r.Blobs); err == nil && len(r.Blobs) > 0 {
		addField(v, "blobs", b)
	}
	v["object_id"], v["bucket_id"], v["status"] = r.ObjectID, r.BucketID, r.Status
	v["created_at"], v["updated_at"] = stamp(r.Created), stamp(r.Updated)
	if r.KeyPrefix != "" {
		v["key_prefix"] = r.KeyPrefix
	}
	if r.Error != "" {
		v["error"] = r.Error
	}
	return v
}

const objectColumns = `SELECT o.valid_from, o.valid_to, o.version, o.created, o.updated, coalesce(s.status, 'PENDING'), coalesce(s.error, ''), b.data
	FROM objects o JOIN objects_data b ON b.row = o.row LEFT JOIN object_status s ON s.log = o.log AND s.object_id = o.object_id `

func scanObject(rows *sql.Rows) (ObjectRow, error) {
	var o ObjectRow
	var data sql.RawBytes
	var from, to, version, created, updated int64
	if err := rows.Scan(&from, &to, &version, &created, &updated, &o.Status, &o.Error, &data); err != nil {
		return o, err
	}
	if err := json.Unmarshal(data, &o.Object); err != nil {
		return o, err
	}
	o.Position, o.Version, o.Created, o.Updated = uint64(from), uint64(version), micros(created), micros(updated)
	if to != open {
		o.Ended = uint64(to)
	}
	return o, nil
}

// Object finds one object of a bucket (bucketID empty: of any); domain.NotFound
// where it does not exist at the position.
func (o *Objects) Object(ctx context.Context, at At, bucketID, objectID string) (ObjectRow, error) {
	var found ObjectRow
	err := o.query(ctx, objectColumns+`WHERE o.log = ? AND o.object_id = ? AND o.valid_from <= ? ORDER BY o.valid_from DESC LIMIT 1`,
		[]any{logKey(at.Log), objectID, int64(at.Position)}, func(rows *sql.Rows) (err error) {
			found, err = scanObject(rows)
			return err
		})
	if err != nil {
		return ObjectRow{}, err
	}
	if found.Position == 0 || found.Ended != 0 && found.Ended <= at.Position || bucketID != "" && found.BucketID != bucketID {
		return ObjectRow{}, domain.NotFound("object", objectID)
	}
	return found, nil
}

// Objects finds objects in the order given; ids that do not exist are left out.
func (o *Objects) Objects(ctx context.Context, at At, ids []string) ([]ObjectRow, error) {
	return readByID(ctx, o.query, objectColumns+`WHERE o.log = ? AND o.valid_from <= ? AND o.valid_to > ? AND o.object_id`, at, ids, scanObject,
		func(row ObjectRow) string { return row.ObjectID })
}

func (q *ObjectQuery) where(at At) (string, []any) {
	text := `WHERE o.log = ? AND o.valid_from <= ? AND o.valid_to > ?`
	args := []any{logKey(at.Log), int64(at.Position), int64(at.Position)}
	if q.BucketID != "" {
		text, args = text+` AND o.bucket_id = ?`, append(args, q.BucketID)
	}
	if q.Status != "" {
		text, args = text+` AND coalesce(s.status, 'PENDING') = ?`, append(args, q.Status)
	}
	return text, args
}

func (o *Objects) each(ctx context.Context, at At, q *ObjectQuery, after string, viewed bool, visit func(ObjectRow, map[string]any) error) error {
	words := searchWords(q.Search)
	viewed = viewed || q.Filter != nil || len(words) > 0
	enough, n := false, 0
	scan := func(rows *sql.Rows) error {
		row, err := scanObject(rows)
		if err != nil {
			return err
		}
		n++
		after = row.ObjectID
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
	size := piece
	if !viewed {
		size = min(limitOf(q.Limit)+q.Offset+1, piece)
	}
	for ; !enough; size = piece { // see Documents.each
		text, args := q.where(at)
		if after != "" {
			text, args = text+` AND o.object_id > ?`, append(args, after)
		}
		n = 0
		if err := o.query(ctx, objectColumns+text+` ORDER BY o.object_id LIMIT ?`, append(args, size), scan); err != nil || n < size {
			return err
		}
	}
	return nil
}

// List pages through objects.
func (o *Objects) List(ctx context.Context, at At, q ObjectQuery) (Page[ObjectRow], error) {
	page := Page[ObjectRow]{At: at}
	c, err := readCursor(q.After, queryDigest("objects", q.BucketID, q.Status, q.Filter, q.Search, q.Sort), at.Position)
	if err != nil {
		return page, err
	}
	page.At.Position = c.Position
	limit, offset := limitOf(q.Limit), q.Offset
	if q.After != "" {
		offset = 0
	}
	if q.Total {
		n := 0
		if q.Filter == nil && q.Search == "" && q.Status == "" {
			n, err = o.Count(ctx, page.At, q.BucketID)
		} else {
			err = o.each(ctx, page.At, &q, "", true, func(ObjectRow, map[string]any) error { n++; return nil })
		}
		if err != nil {
			return page, err
		}
		page.Total = &n
	}
	if len(q.Sort) > 0 {
		err = page.sorted(c, q.Sort, offset, limit,
			func(add func(view map[string]any, id string) error) error {
				return o.each(ctx, page.At, &q, "", true, func(row ObjectRow, view map[string]any) error { return add(view, row.ObjectID) })
			},
			func(ids []string) ([]ObjectRow, error) { return o.Objects(ctx, page.At, ids) })
		return page, err
	}
	err = o.each(ctx, page.At, &q, c.After, false, func(row ObjectRow, _ map[string]any) error {
		if offset > 0 {
			offset--
			return nil
		}
		if len(page.Items) == limit {
			c.After = page.Items[limit-1].ObjectID
			page.Next = c.text()
			return errEnough
		}
		page.Items = append(page.Items, row)
		return nil
	})
	return page, err
}

// Count counts a bucket's objects (bucketID empty: all of the log).
func (o *Objects) Count(ctx context.Context, at At, bucketID string) (int, error) {
	n := 0
	q := ObjectQuery{BucketID: bucketID}
	text, args := q.where(at)
	err := o.query(ctx, `SELECT count(*) FROM objects o `+text, args, func(rows *sql.Rows) error { return rows.Scan(&n) })
	return n, err
}

// BucketTotals is what a bucket holds.
type BucketTotals struct {
	Objects    int
	Failed     int // as of the newest event
	SizeBytes  int64
	MaxBytes   int64
	MinBytes   int64
	LastUpload time.Time
}

// Totals gives what every bucket of the log holds, by bucket id; buckets without objects are absent.
func (o *Objects) Totals(ctx context.Context, at At) (map[string]BucketTotals, error) {
	return o.totals(ctx, at, "")
}

// BucketTotals gives what one bucket holds.
func (o *Objects) BucketTotals(ctx context.Context, at At, bucketID string) (BucketTotals, error) {
	all, err := o.totals(ctx, at, bucketID)
	return all[bucketID], err
}

func (o *Objects) totals(ctx context.Context, at At, bucketID string) (map[string]BucketTotals, error) {
	all := map[string]BucketTotals{}
	q := ObjectQuery{BucketID: bucketID}
	text, args := q.where(at)
	err := o.query(ctx, `SELECT o.bucket_id, count(*), sum(o.size), max(o.size), min(o.size), max(o.updated) FROM objects o `+text+` GROUP BY o.bucket_id`, args, func(rows *sql.Rows) error {
		var id string
		var t BucketTotals
		var last int64
		if err := rows.Scan(&id, &t.Objects, &t.SizeBytes, &t.MaxBytes, &t.MinBytes, &last); err != nil {
			return err
		}
		t.LastUpload = micros(last)
		all[id] = t
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = o.query(ctx, `SELECT bucket_id, count(*) FROM object_status WHERE log = ? AND status = 'FAILED' GROUP BY bucket_id`, []any{logKey(at.Log)}, func(rows *sql.Rows) error {
		var id string
		var n int
		if err := rows.Scan(&id, &n); err != nil {
			return err
		}
		if t, ok := all[id]; ok {
			t.Failed = n
			all[id] = t
		}
		return nil
	})
	return all, err
}
