package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"varve/eventstore"
)

// pageBytes ends a page of big rows.
const pageBytes = 8 << 20

// Head gives the head of a shard.
func (e *Engine) Head(ctx context.Context, shard int) (h eventstore.Head, err error) {
	err = e.read(ctx, func(c *conn) error {
		h, err = head(c, shard)
		return err
	})
	return h, err
}

func head(c *conn, shard int) (h eventstore.Head, err error) {
	found, err := c.one("SELECT token, feed, first, logs, streams FROM heads WHERE shard = ?", func(row []driver.Value) error {
		h = eventstore.Head{Token: number(row[0]), Feed: number(row[1]), First: number(row[2]), Logs: row[3].(int64), Streams: row[4].(int64)}
		return nil
	}, int64(shard))
	if err == nil && !found {
		err = fmt.Errorf("shard %d has no head: the store has shards below it only", shard)
	}
	return h, err
}

func number(v driver.Value) uint64 { return uint64(v.(int64)) }

func hash(v driver.Value) (h eventstore.Hash) {
	copy(h[:], v.([]byte))
	return h
}

const logSelect = `SELECT l.log, l.name, l.shard, l.closed, l.pieces, l.base_position, l.base_hash, l.base_time,
	e.key, e.position, e.proof, e.time
	FROM logs l LEFT JOIN events e ON e.log = l.log AND e.position = (SELECT max(position) FROM events WHERE log = l.log) WHERE `

// Logs describes logs by name.
func (e *Engine) Logs(ctx context.Context, names []eventstore.LogID) ([]eventstore.LogInfo, error) {
	out := make([]eventstore.LogInfo, len(names))
	err := e.read(ctx, func(c *conn) error {
		for i, name := range names {
			if _, err := c.one(logSelect+"l.name = ?", func(row []driver.Value) (err error) {
				out[i], err = e.logInfo(c, row)
				return err
			}, string(name)); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

func (e *Engine) logInfo(c *conn, row []driver.Value) (eventstore.LogInfo, error) {
	i := eventstore.LogInfo{Key: row[0].(int64), Name: eventstore.LogID(row[1].(string))}
	i.Exists, i.Shard, i.Closed = true, int(row[2].(int64)), row[3].(int64) != 0
	i.Position, i.Hash, i.Time = number(row[5]), hash(row[6]), fromMicros(row[7].(int64))
	if row[8] != nil {
		_, i.Feed = splitKey(row[8].(int64))
		i.Position, i.Hash, i.Time = number(row[9]), hashOf(row[10].([]byte)), fromMicros(row[11].(int64))
	}
	for _, p := range strings.Fields(row[4].(string)) {
		key, upTo, _ := strings.Cut(p, ":")
		k, err1 := strconv.ParseInt(key, 10, 64)
		u, err2 := strconv.ParseUint(upTo, 10, 64)
		if err1 != nil || err2 != nil {
			return i, fmt.Errorf("log %s: its ranges are damaged: %q", i.Name, row[4])
		}
		name, err := e.logName(c, k)
		if err != nil {
			return i, err
		}
		i.Pieces = append(i.Pieces, eventstore.Piece{Key: k, UpTo: u})
		i.Ranges = append(i.Ranges, eventstore.Range{Log: name, UpTo: u})
	}
	i.Pieces = append(i.Pieces, eventstore.Piece{Key: i.Key, UpTo: math.MaxUint64})
	i.Ranges = append(i.Ranges, eventstore.Range{Log: i.Name, UpTo: math.MaxUint64})
	return i, nil
}

func hashOf(proof []byte) (h eventstore.Hash) {
	copy(h[:], proof[48:80])
	return h
}

// logName gives the name of a log by its key; names never change.
func (e *Engine) logName(c *conn, key int64) (eventstore.LogID, error) {
	if v, ok := e.names.Load(key); ok {
		return v.(eventstore.LogID), nil
	}
	var name eventstore.LogID
	found, err := c.one("SELECT name FROM logs WHERE log = ?", func(row []driver.Value) error {
		name = eventstore.LogID(row[0].(string))
		return nil
	}, key)
	if err == nil && !found {
		err = fmt.Errorf("log %d is missing: the file is damaged", key)
	}
	if err == nil {
		e.names.Store(key, name)
	}
	return name, err
}

// LogNames lists a shard's logs.
func (e *Engine) LogNames(ctx context.Context, shard int) (names []eventstore.LogID, err error) {
	err = e.read(ctx, func(c *conn) error {
		return c.query("SELECT name FROM logs WHERE shard = ? ORDER BY log", func(row []driver.Value) (bool, error) {
			names = append(names, eventstore.LogID(row[0].(string)))
			return true, nil
		}, int64(shard))
	})
	return names, err
}

// Streams finds streams as of their logs' ranges.
func (e *Engine) Streams(ctx context.Context, wants []eventstore.StreamWant) ([]eventstore.StreamInfo, error) {
	out := make([]eventstore.StreamInfo, len(wants))
	err := e.read(ctx, func(c *conn) (err error) {
		for i, w := range wants {
			if out[i], err = stream(c, w); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

func stream(c *conn, w eventstore.StreamWant) (s eventstore.StreamInfo, err error) {
	for i := len(w.Pieces) - 1; i >= 0; i-- {
		p := w.Pieces[i]
		var key int64
		var newest uint64
		found, err := c.one(`SELECT s.stream, coalesce((SELECT max(version) FROM events WHERE stream = s.stream), s.base)
			FROM streams s WHERE s.log = ? AND s.name = ?`, func(row []driver.Value) error {
			key, newest = row[0].(int64), number(row[1])
			return nil
		}, p.Key, w.Name)
		if err != nil {
			return s, err
		}
		if !found {
			continue
		}
		if i == len(w.Pieces)-1 {
			return eventstore.StreamInfo{Key: key, Version: newest}, nil
		}
		// Positions rise with versions: the last version up to the end of the range.
		v, err := lastVersion(c, key, newest, p.UpTo)
		if err != nil || v > 0 {
			return eventstore.StreamInfo{Version: v}, err
		}
	}
	return s, nil
}

// lastVersion is the newest version of a stream at a position up to upTo, 0
// where there is none. It halves the range instead of walking back through
// everything that came after.
func lastVersion(c *conn, key int64, newest, upTo uint64) (uint64, error) {
	at := func(v uint64) (pos uint64, ok bool, err error) {
		ok, err = c.one("SELECT position FROM events WHERE stream = ? AND version = ?", func(row []driver.Value) error {
			pos = number(row[0])
			return nil
		}, key, int64(v))
		return pos, ok, err
	}
	var lo, hi uint64 = 0, newest // the answer lies in [lo, hi]
	if pos, ok, err := at(newest); err != nil || ok && pos <= upTo {
		return newest, err
	}
	for lo < hi {
		mid := lo + (hi-lo+1)/2
		pos, ok, err := at(mid)
		if err != nil {
			return 0, err
		}
		// A version that is not there lies before the stream's own first one.
		if !ok || pos <= upTo {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	if _, ok, err := at(lo); err != nil || !ok {
		return 0, err
	}
	return lo, nil
}

// Scope finds an idempotency row.
func (e *Engine) Scope(ctx context.Context, name string) (s eventstore.Scope, ok bool, err error) {
	err = e.read(ctx, func(c *conn) error {
		ok, err = c.one("SELECT shard, digest, first, count, time FROM scopes WHERE name = ?", func(row []driver.Value) error {
			s = eventstore.Scope{Name: name, Shard: int(row[0].(int64)), Digest: hash(row[1]), First: number(row[2]),
				Count: int(row[3].(int64)), Time: fromMicros(row[4].(int64))}
			return nil
		}, name)
		return err
	})
	return s, ok, err
}

// Blob gives packed attachments.
func (e *Engine) Blob(ctx context.Context, ref string) (b []byte, err error) {
	err = e.read(ctx, func(c *conn) error {
		found, err := c.one("SELECT bytes FROM blobs WHERE ref = ?", func(row []driver.Value) error {
			b = row[0].([]byte)
			return nil
		}, ref)
		if err == nil && !found {
			err = fmt.Errorf("blob %s is missing", ref)
		}
		return err
	})
	return b, err
}

// CROSS JOIN keeps SQLite from turning the join around.
const rowSelect = `SELECT e.key, e.log, e.position, e.stream, e.version, e.type, e.schema, e.time, e.proof, e.meta, e.data, e.packed, s.name
	FROM events e CROSS JOIN streams s ON s.stream = e.stream WHERE `

// page reads rows until limit or the size of a page.
func (e *Engine) page(c *conn, limit int, where string, args ...driver.Value) (rows []eventstore.Row, more bool, err error) {
	rows = make([]eventstore.Row, 0, min(limit, 16))
	bytes := 0
	err = c.query(where, func(row []driver.Value) (bool, error) {
		rows = append(rows, eventstore.Row{})
		r := &rows[len(rows)-1]
		if err := e.scan(c, row, r); err != nil {
			return false, err
		}
		bytes += len(r.Data) + len(r.Packed)
		return bytes <= pageBytes, nil
	}, append(args, int64(limit))...)
	return rows, len(rows) == limit || bytes > pageBytes, err
}

func (e *Engine) scan(c *conn, row []driver.Value, r *eventstore.Row) (err error) {
	r.Shard, r.Feed = splitKey(row[0].(int64))
	r.LogKey, r.Position, r.StreamKey, r.Version = row[1].(int64), number(row[2]), row[3].(int64), number(row[4])
	r.Type, r.Schema, r.Time = row[5].(string), int(row[6].(int64)), fromMicros(row[7].(int64))
	p := row[8].([]byte)
	if len(p) < erasedProof {
		return fmt.Errorf("record %d of the feed is damaged", r.Feed)
	}
	copy(r.ID[:], p)
	copy(r.Digest[:], p[16:])
	copy(r.Hash[:], p[48:])
	copy(r.Salt[:], p[80:])
	meta, _ := row[9].([]byte)
	if r.Meta, err = eventstore.ParseMetadata(meta); err != nil {
		return fmt.Errorf("record %d of the feed: %w", r.Feed, err)
	}
	if row[10] == nil {
		r.Erased = true
	} else {
		r.Data = json.RawMessage(row[10].([]byte))
	}
	r.Packed, _ = row[11].([]byte)
	r.Stream = row[12].(string)
	if v, ok := e.names.Load(r.LogKey); ok {
		r.Log = v.(eventstore.LogID)
		return nil
	}
	r.Log, err = e.logName(c, r.LogKey)
	return err
}

// Record gives the record at a position.
func (e *Engine) Record(ctx context.Context, key int64, position uint64) (r eventstore.Row, ok bool, err error) {
	err = e.read(ctx, func(c *conn) error {
		rows, _, err := e.page(c, 1, rowSelect+"e.log = ? AND e.position = ? LIMIT ?", key, int64(position))
		if err == nil && len(rows) == 1 {
			r, ok = rows[0], true
		}
		return err
	})
	return r, ok, err
}

// ReadLog reads a log's own records.
func (e *Engine) ReadLog(ctx context.Context, key int64, after, upTo uint64, limit int) (rows []eventstore.Row, more bool, err error) {
	err = e.read(ctx, func(c *conn) error {
		rows, more, err = e.page(c, limit, rowSelect+"e.log = ? AND e.position > ? AND e.position <= ? ORDER BY e.position LIMIT ?",
			key, signed(after), signed(upTo))
		return err
	})
	return rows, more, err
}

// signed keeps a number without end within what SQLite can hold.
func signed(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// ReadStream reads a stream's own records in a log.
func (e *Engine) ReadStream(ctx context.Context, log int64, name string, after, upTo uint64, limit int) (rows []eventstore.Row, more bool, err error) {
	err = e.read(ctx, func(c *conn) error {
		var key int64
		found, err := c.one("SELECT stream FROM streams WHERE log = ? AND name = ?", func(row []driver.Value) error {
			key = row[0].(int64)
			return nil
		}, log, name)
		if err != nil || !found {
			return err
		}
		rows, more, err = e.page(c, limit, rowSelect+"e.stream = ? AND e.version > ? ORDER BY e.version LIMIT ?", key, signed(after))
		for len(rows) > 0 && rows[len(rows)-1].Position > upTo {
			rows, more = rows[:len(rows)-1], false
		}
		return err
	})
	return rows, more, err
}

// ReadFeed reads a shard's records.
func (e *Engine) ReadFeed(ctx context.Context, shard int, after uint64, limit int) (rows []eventstore.Row, more bool, err error) {
	err = e.read(ctx, func(c *conn) error {
		rows, more, err = e.page(c, limit, rowSelect+"e.key > ? AND e.key < ? ORDER BY e.key LIMIT ?",
			eventKey(shard, min(after, 1<<shardBits-1)), eventKey(shard+1, 0))
		if err != nil || len(rows) > 0 && rows[0].Feed == after+1 {
			return err
		}
		// A gap, or nothing: the feed was cut, or this is its end.
		h, err := head(c, shard)
		if err == nil && after+1 < h.First {
			return &eventstore.TruncatedError{Shard: shard, First: h.First}
		}
		if err == nil && len(rows) > 0 {
			return fmt.Errorf("feed position %d of shard %d is missing: the file is damaged", after+1, shard)
		}
		return err
	})
	if err != nil {
		rows, more = nil, false
	}
	return rows, more, err
}
