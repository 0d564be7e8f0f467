package sqlite

import (
	"context"
	"database/sql/driver"
	"strconv"

	"varve/eventstore"
)

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

// streamKeys finds the key of a stream in each piece, 0 where it has none.
func streamKeys(c *conn, pieces []eventstore.Piece, name string) ([]int64, error) {
	keys := make([]int64, len(pieces))
	if len(pieces) == 1 {
		_, err := c.one("SELECT stream FROM streams WHERE log = ? AND name = ?", func(row []driver.Value) error {
			keys[0] = row[0].(int64)
			return nil
		}, pieces[0].Key, name)
		return keys, err
	}
	list := []byte{'['}
	for _, p := range pieces {
		list = append(strconv.AppendInt(list, p.Key, 10), ',')
	}
	list[len(list)-1] = ']'
	err := c.query("SELECT j.key, s.stream FROM json_each(?) j CROSS JOIN streams s ON s.log = j.value AND s.name = ?",
		func(row []driver.Value) (bool, error) {
			keys[row[0].(int64)] = row[1].(int64)
			return true, nil
		}, string(list), name)
	return keys, err
}

func stream(c *conn, w eventstore.StreamWant) (s eventstore.StreamInfo, err error) {
	keys, err := streamKeys(c, w.Pieces, w.Name)
	if err != nil {
		return s, err
	}
	for i := len(w.Pieces) - 1; i >= 0; i-- {
		if keys[i] == 0 {
			continue
		}
		var newest uint64
		if _, err := c.one("SELECT coalesce((SELECT max(version) FROM events WHERE stream = s.stream), s.base) FROM streams s WHERE s.stream = ?",
			func(row []driver.Value) error {
				newest = number(row[0])
				return nil
			}, keys[i]); err != nil {
			return s, err
		}
		if i == len(w.Pieces)-1 {
			return eventstore.StreamInfo{Key: keys[i], Version: newest}, nil
		}
		// Positions rise with versions: the last version up to the end of the range.
		v, err := lastVersion(c, keys[i], newest, w.Pieces[i].UpTo)
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

const scopeColumns = "SELECT name, shard, digest, first, count, time FROM scopes WHERE "

// Scope finds an idempotency row.
func (e *Engine) Scope(ctx context.Context, name string) (s eventstore.Scope, ok bool, err error) {
	err = e.read(ctx, func(c *conn) error {
		ok, err = c.one(scopeColumns+"name = ?", func(row []driver.Value) error {
			s = scope(row)
			return nil
		}, name)
		return err
	})
	return s, ok, err
}

func scope(row []driver.Value) eventstore.Scope {
	return eventstore.Scope{Name: row[0].(string), Shard: int(row[1].(int64)), Digest: hash(row[2]), First: number(row[3]),
		Count: int(row[4].(int64)), Time: eventstore.FromMicros(row[5].(int64))}
}

// Scopes lists a shard's idempotency rows.
func (e *Engine) Scopes(ctx context.Context, shard int, after string, limit int) (out []eventstore.Scope, err error) {
	err = e.read(ctx, func(c *conn) error {
		return c.query(scopeColumns+"name > ? AND shard = ? ORDER BY name", func(row []driver.Value) (bool, error) {
			out = append(out, scope(row))
			return len(out) < limit, nil
		}, after, int64(shard))
	})
	return out, err
}
