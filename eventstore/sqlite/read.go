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

const logSelect = `SELECT l.log, l.name, l.shard, l.closed, l.pieces, l.base_position, l.base,
	e.key, e.position, e.frame
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
	i.Position = number(row[5])
	var err error
	if i.Hash, i.Time, err = eventstore.ReadBase(row[6].([]byte)); err != nil {
		return i, err
	}
	if row[7] != nil {
		var newest eventstore.Row
		newest.Shard, newest.Feed = splitKey(row[7].(int64))
		if err := eventstore.ReadFrame(row[9].([]byte), &newest); err != nil {
			return i, err
		}
		i.Feed, i.Position, i.Hash, i.Time = newest.Feed, number(row[8]), newest.Hash, newest.Time
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

// What is read of an event; the two keys at the end only where they are not
// known, as every column costs. CROSS JOIN keeps SQLite from turning the join around.
const (
	rowColumns = "SELECT e.key, e.position, e.version, e.type, e.frame, e.data, e.packed, s.name"
	rowFrom    = " FROM events e CROSS JOIN streams s ON s.stream = e.stream WHERE "
	ownSelect  = rowColumns + rowFrom
	rowSelect  = rowColumns + ", e.log, e.stream" + rowFrom
)

// page reads rows until limit or the size of a page; hint is how many to expect.
// It ends before the first row beyond position upTo. The query has no LIMIT:
// SQLite would plan anew for every other value.
func (e *Engine) page(c *conn, limit, hint int, upTo uint64, where string, args ...driver.Value) (rows []eventstore.Row, more bool, err error) {
	rows = make([]eventstore.Row, 0, min(limit, hint))
	bytes := 0
	err = c.query(where, func(row []driver.Value) (bool, error) {
		rows = append(rows, eventstore.Row{})
		r := &rows[len(rows)-1]
		if err := e.scan(c, row, r); err != nil {
			return false, err
		}
		if r.Position > upTo {
			rows = rows[:len(rows)-1]
			return false, nil
		}
		bytes += len(r.Data) + len(r.Packed)
		more = len(rows) == limit || bytes > pageBytes
		return !more, nil
	}, args...)
	return rows, more, err
}

func (e *Engine) scan(c *conn, row []driver.Value, r *eventstore.Row) (err error) {
	r.Shard, r.Feed = splitKey(row[0].(int64))
	r.Position, r.Version, r.Type = number(row[1]), number(row[2]), row[3].(string)
	if err := eventstore.ReadFrame(row[4].([]byte), r); err != nil {
		return err
	}
	if row[5] == nil {
		r.Erased = true
	} else {
		r.Data = json.RawMessage(row[5].([]byte))
	}
	r.Packed, _ = row[6].([]byte)
	r.Stream = row[7].(string)
	if len(row) == 8 { // the caller knows the log
		return nil
	}
	r.LogKey, r.StreamKey = row[8].(int64), row[9].(int64)
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
		rows, _, err := e.page(c, 1, 1, math.MaxUint64, rowSelect+"e.log = ? AND e.position = ?", key, int64(position))
		if err == nil && len(rows) == 1 {
			r, ok = rows[0], true
		}
		return err
	})
	return r, ok, err
}

// ReadLog reads the records of a log's pieces.
func (e *Engine) ReadLog(ctx context.Context, pieces []eventstore.Piece, after uint64, limit int) (rows []eventstore.Row, more bool, err error) {
	err = e.read(ctx, func(c *conn) error {
		for _, p := range pieces {
			if p.UpTo <= after {
				continue
			}
			part, full, err := e.page(c, limit-len(rows), limit, p.UpTo, ownSelect+"e.log = ? AND e.position > ? AND e.position <= ? ORDER BY e.position",
				p.Key, signed(after), signed(p.UpTo))
			if err != nil {
				return err
			}
			if rows = join(rows, part); full {
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

// signed keeps a number without end within what SQLite can hold.
func signed(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// ReadStream reads the records of a stream in a log's pieces.
func (e *Engine) ReadStream(ctx context.Context, pieces []eventstore.Piece, name string, after uint64, limit int) (rows []eventstore.Row, more bool, err error) {
	err = e.read(ctx, func(c *conn) error {
		keys, err := streamKeys(c, pieces, name)
		if err != nil {
			return err
		}
		for i, p := range pieces {
			if keys[i] == 0 {
				continue
			}
			part, full, err := e.page(c, limit-len(rows), 16, p.UpTo, ownSelect+"e.stream = ? AND e.version > ? ORDER BY e.version", keys[i], signed(after))
			if err != nil {
				return err
			}
			if rows = join(rows, part); full {
				more = true
				return nil
			}
		}
		return nil
	})
	return rows, more, err
}

// ReadFeed reads a shard's records.
func (e *Engine) ReadFeed(ctx context.Context, shard int, after uint64, limit int) (rows []eventstore.Row, more bool, err error) {
	err = e.read(ctx, func(c *conn) error {
		rows, more, err = e.page(c, limit, limit, math.MaxUint64, rowSelect+"e.key > ? AND e.key < ? ORDER BY e.key",
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
