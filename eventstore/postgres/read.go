package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"varve/eventstore"
)

// pageBytes ends a page of big rows.
const pageBytes = 8 << 20

// Head gives the head of a shard.
func (e *Engine) Head(ctx context.Context, shard int) (h eventstore.Head, err error) {
	err = e.read(ctx, func(c *pgx.Conn) error {
		h, _, err = scanHead(c.QueryRow(ctx, e.sql.head, int64(shard)))
		return err
	})
	return h, err
}

func scanHead(r pgx.Row) (h eventstore.Head, writer int64, err error) {
	var token, feed, first int64
	err = r.Scan(&token, &feed, &first, &h.Logs, &h.Streams, &writer)
	h.Token, h.Feed, h.First = uint64(token), uint64(feed), uint64(first)
	return h, writer, err
}

// Logs describes logs by name.
func (e *Engine) Logs(ctx context.Context, names []eventstore.LogID) (out []eventstore.LogInfo, err error) {
	err = e.read(ctx, func(c *pgx.Conn) error {
		out = make([]eventstore.LogInfo, len(names))
		list := make([]string, len(names))
		for i, name := range names {
			list[i] = string(name)
		}
		if err := each(ctx, c, func(v [][]byte) error {
			at := toInt(v[10]) - 1
			out[at], err = logInfo(v)
			return err
		}, e.sql.logs, list); err != nil {
			return err
		}
		for i := range out {
			if err := e.nameRanges(ctx, c, &out[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// each calls fn with the values of every row, in binary format; they are the
// connection's, until fn returns.
func each(ctx context.Context, c *pgx.Conn, fn func(v [][]byte) error, sql string, args ...any) error {
	rows, err := c.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.RawValues()); err != nil {
			return err
		}
	}
	return rows.Err()
}

// logInfo reads a log; the names of its ranges are missing.
func logInfo(v [][]byte) (i eventstore.LogInfo, err error) {
	i.Key, i.Name = toInt(v[0]), eventstore.LogID(v[1])
	i.Exists, i.Shard, i.Closed = true, int(toInt(v[2])), v[3][0] != 0
	i.Position = toUint(v[5])
	if i.Hash, i.Time, err = eventstore.ReadBase(v[6]); err != nil {
		return i, err
	}
	if v[7] != nil {
		var newest eventstore.Row
		newest.Shard, newest.Feed = splitKey(toInt(v[7]))
		if err := eventstore.ReadFrame(v[9], &newest); err != nil {
			return i, err
		}
		i.Feed, i.Position, i.Hash, i.Time = newest.Feed, toUint(v[8]), newest.Hash, newest.Time
	}
	for _, p := range strings.Fields(string(v[4])) {
		key, upTo, _ := strings.Cut(p, ":")
		k, err1 := strconv.ParseInt(key, 10, 64)
		u, err2 := strconv.ParseUint(upTo, 10, 64)
		if err1 != nil || err2 != nil {
			return i, fmt.Errorf("log %s: its ranges are damaged: %q", i.Name, v[4])
		}
		i.Pieces = append(i.Pieces, eventstore.Piece{Key: k, UpTo: u})
	}
	i.Pieces = append(i.Pieces, eventstore.Piece{Key: i.Key, UpTo: math.MaxUint64})
	return i, nil
}

// nameRanges fills in a log's ranges.
func (e *Engine) nameRanges(ctx context.Context, c *pgx.Conn, i *eventstore.LogInfo) error {
	if i.Key == 0 {
		return nil
	}
	e.names.Store(i.Key, i.Name)
	i.Ranges = make([]eventstore.Range, len(i.Pieces))
	for k, p := range i.Pieces {
		name, err := e.logName(ctx, c, p.Key)
		if err != nil {
			return err
		}
		i.Ranges[k] = eventstore.Range{Log: name, UpTo: p.UpTo}
	}
	return nil
}

// logName gives the name of a log by its key; names never change.
func (e *Engine) logName(ctx context.Context, c *pgx.Conn, key int64) (eventstore.LogID, error) {
	if v, ok := e.names.Load(key); ok {
		return v.(eventstore.LogID), nil
	}
	var name string
	if err := c.QueryRow(ctx, "SELECT name FROM "+e.opts.Schema+".logs WHERE log = $1", key).Scan(&name); err != nil {
		return "", fmt.Errorf("log %d: %w", key, err)
	}
	e.names.Store(key, eventstore.LogID(name))
	return eventstore.LogID(name), nil
}

// LogNames lists a shard's logs.
func (e *Engine) LogNames(ctx context.Context, shard int) (names []eventstore.LogID, err error) {
	err = e.read(ctx, func(c *pgx.Conn) error {
		names = nil
		return each(ctx, c, func(v [][]byte) error {
			names = append(names, eventstore.LogID(v[0]))
			return nil
		}, "SELECT name FROM "+e.opts.Schema+".logs WHERE shard = $1 ORDER BY log", int64(shard))
	})
	return names, err
}

// Blob gives packed attachments.
func (e *Engine) Blob(ctx context.Context, ref string) (b []byte, err error) {
	err = e.read(ctx, func(c *pgx.Conn) error {
		found := false
		err := each(ctx, c, func(v [][]byte) error {
			b, found = append([]byte{}, v[0]...), true
			return nil
		}, "SELECT bytes FROM "+e.opts.Schema+".blobs WHERE ref = $1", ref)
		if err == nil && !found {
			err = &missingError{"blob " + ref}
		}
		return err
	})
	return b, err
}

// missingError is for what must be there: reading again brings nothing.
type missingError struct{ what string }

func (e *missingError) Error() string { return e.what + " is missing" }

// heavyPages is how many pages are read by size after one that had big rows.
const heavyPages = 32

// page reads a page; the first argument is the limit.
func (e *Engine) page(ctx context.Context, c *pgx.Conn, hint int, p paged, args ...any) ([]eventstore.Row, error) {
	if e.heavy.Load() > 0 {
		e.heavy.Add(-1)
		return e.rows(ctx, c, hint, p.sized, args...)
	}
	rows, err := e.rows(ctx, c, hint, p.light, args...)
	if errors.Is(err, errHeavy) {
		e.heavy.Store(heavyPages)
		return e.rows(ctx, c, hint, p.sized, args...)
	}
	return rows, err
}

// errHeavy says that a row's bytes were left out.
var errHeavy = errors.New("a row is too big for a light page")

// lightColumn says that they were not.
const lightColumn = 10

// rows reads what a statement gives.
func (e *Engine) rows(ctx context.Context, c *pgx.Conn, hint int, sql string, args ...any) ([]eventstore.Row, error) {
	r, err := c.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	rows, err := scanRows(r, hint)
	if err != nil {
		return nil, err
	}
	return rows, e.nameRows(ctx, c, rows)
}

func scanRows(r pgx.Rows, hint int) ([]eventstore.Row, error) {
	defer r.Close()
	rows := make([]eventstore.Row, 0, hint)
	for r.Next() {
		v := r.RawValues()
		if len(v) > lightColumn && v[lightColumn][0] == 0 {
			return nil, errHeavy
		}
		rows = append(rows, eventstore.Row{})
		if err := scanRow(v, &rows[len(rows)-1]); err != nil {
			return nil, err
		}
	}
	return rows, r.Err()
}

func scanRow(v [][]byte, r *eventstore.Row) error {
	r.Shard, r.Feed = splitKey(toInt(v[0]))
	r.Position, r.Version, r.Type = toUint(v[1]), toUint(v[2]), string(v[3])
	if err := eventstore.ReadFrame(v[4], r); err != nil {
		return err
	}
	if v[5] == nil {
		r.Erased = true
	} else {
		r.Data = append(json.RawMessage(nil), v[5]...)
	}
	if v[6] != nil {
		r.Packed = append([]byte(nil), v[6]...)
	}
	r.LogKey, r.StreamKey, r.Stream = toInt(v[7]), toInt(v[8]), string(v[9])
	return nil
}

func (e *Engine) nameRows(ctx context.Context, c *pgx.Conn, rows []eventstore.Row) (err error) {
	for i := range rows {
		r := &rows[i]
		if i > 0 && r.LogKey == rows[i-1].LogKey {
			r.Log = rows[i-1].Log
			continue
		}
		if r.Log, err = e.logName(ctx, c, r.LogKey); err != nil {
			return err
		}
	}
	return nil
}

// full says whether a page may have more behind it.
func full(rows []eventstore.Row, limit int) bool {
	if len(rows) >= limit {
		return true
	}
	bytes := 0
	for i := range rows {
		bytes += len(rows[i].Data) + len(rows[i].Packed)
	}
	return bytes > pageBytes
}

// Record gives the record at a position.
func (e *Engine) Record(ctx context.Context, key int64, position uint64) (r eventstore.Row, ok bool, err error) {
	err = e.read(ctx, func(c *pgx.Conn) error {
		rows, err := e.rows(ctx, c, 1, e.sql.record, key, signed(position))
		if err == nil && len(rows) == 1 {
			r, ok = rows[0], true
		}
		return err
	})
	return r, ok, err
}

// signed keeps a number without end within what PostgreSQL can hold.
func signed(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// ReadLog reads the records of a log's pieces.
func (e *Engine) ReadLog(ctx context.Context, pieces []eventstore.Piece, after uint64, limit int) (rows []eventstore.Row, more bool, err error) {
	err = e.read(ctx, func(c *pgx.Conn) error {
		rows, more = nil, false
		for _, p := range pieces {
			if p.UpTo <= after {
				continue
			}
			left := limit - len(rows)
			part, err := e.page(ctx, c, left, e.sql.readLog, int64(left), p.Key, signed(after), signed(p.UpTo))
			if err != nil {
				return err
			}
			if rows = join(rows, part); full(part, left) {
				more = true
				return nil
			}
		}
		return nil
	})
	return rows, more, err
}

// join appends without copying where there was nothing.
func join(rows, part []eventstore.Row) []eventstore.Row {
	if len(rows) == 0 {
		return part
	}
	return append(rows, part...)
}

// ReadFeed reads a shard's records.
func (e *Engine) ReadFeed(ctx context.Context, shard int, after uint64, limit int) (rows []eventstore.Row, more bool, err error) {
	cut := (*eventstore.TruncatedError)(nil)
	err = e.read(ctx, func(c *pgx.Conn) error {
		rows, err = e.page(ctx, c, min(limit, 1000), e.sql.feed, int64(limit), eventKey(shard, min(after, 1<<shardBits-1)), eventKey(shard+1, 0))
		more = full(rows, limit)
		if err != nil || len(rows) > 0 && rows[0].Feed == after+1 {
			return err
		}
		// A gap, or nothing: the feed was cut, or this is its end.
		h, _, err := scanHead(c.QueryRow(ctx, e.sql.head, int64(shard)))
		if err == nil && after+1 < h.First {
			cut = &eventstore.TruncatedError{Shard: shard, First: h.First}
			return nil
		}
		if err == nil && len(rows) > 0 {
			return &missingError{fmt.Sprintf("feed position %d of shard %d", after+1, shard)}
		}
		return err
	})
	switch {
	case err != nil:
		return nil, false, err
	case cut != nil:
		return nil, false, cut
	}
	return rows, more, nil
}
