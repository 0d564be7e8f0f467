package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	lib "modernc.org/sqlite/lib"

	"varve/eventstore"
	"varve/eventstore/failpoint"
)

const sqliteIOErr = lib.SQLITE_IOERR

// insertSizes are how many events one statement writes: a call of the driver
// costs about as much as writing a row.
var insertSizes = [...]int{32, 8, 1}

const eventColumns = 9

func insertSQL(rows int) string {
	one := "(" + strings.TrimSuffix(strings.Repeat("?,", eventColumns), ",") + ")"
	return "INSERT INTO events VALUES " + strings.TrimSuffix(strings.Repeat(one+",", rows), ",")
}

// Commit writes a group in one transaction.
func (e *Engine) Commit(_ context.Context, c *eventstore.Commit) error {
	return e.tx(func() error { return e.write(c) })
}

func (e *Engine) write(c *eventstore.Commit) error {
	h := &c.New
	n, err := e.w.exec("UPDATE heads SET token = ?, feed = ?, logs = ?, streams = ? WHERE shard = ? AND token = ?",
		int64(h.Token), int64(h.Feed), h.Logs, h.Streams, int64(c.Shard), int64(c.Old.Token))
	if err != nil {
		return err
	}
	if n == 0 {
		return eventstore.ErrMoved
	}
	if h.First != c.Old.First {
		if _, err := e.w.exec("UPDATE heads SET first = ? WHERE shard = ?", int64(h.First), int64(c.Shard)); err != nil {
			return err
		}
	}
	if err := failpoint.Hit("sqlite.after-head"); err != nil {
		return err
	}
	for i := range c.Logs {
		l := &c.Logs[i]
		pieces := make([]string, 0, len(l.Pieces))
		for _, p := range l.Pieces[:len(l.Pieces)-1] {
			pieces = append(pieces, fmt.Sprintf("%d:%d", p.Key, p.UpTo))
		}
		if _, err := e.w.exec("INSERT INTO logs (log, name, shard, token, pieces, base_position, base) VALUES (?, ?, ?, ?, ?, ?, ?)",
			l.Key, string(l.Name), int64(l.Shard), int64(h.Token), strings.Join(pieces, " "),
			int64(l.Position), eventstore.AppendBase(nil, l.Hash, l.Time)); err != nil {
			return err
		}
	}
	for i := range c.Streams {
		s := &c.Streams[i]
		if _, err := e.w.exec("INSERT INTO streams VALUES (?, ?, ?, ?)", s.Key, s.LogKey, s.Name, int64(s.Base)); err != nil {
			return err
		}
	}
	if err := failpoint.Hit("sqlite.after-streams"); err != nil {
		return err
	}
	if err := e.writeRows(c.Rows); err != nil {
		return err
	}
	if err := failpoint.Hit("sqlite.after-events"); err != nil {
		return err
	}
	for _, key := range c.Closed {
		if _, err := e.w.exec("UPDATE logs SET closed = 1, token = ? WHERE log = ?", int64(h.Token), key); err != nil {
			return err
		}
	}
	if err := e.putBlobs(c.Blobs); err != nil {
		return err
	}
	return e.writeScopes(c)
}

func (e *Engine) putBlobs(blobs []eventstore.Blob) error {
	for _, b := range blobs {
		if _, err := e.w.exec("INSERT INTO blobs VALUES (?, ?)", b.Ref, b.Bytes); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) writeScopes(c *eventstore.Commit) error {
	if !c.ScopesUntil.IsZero() {
		// Rows are in the order of time: look at the oldest only.
		if _, err := e.w.exec(`DELETE FROM scopes WHERE rowid IN (SELECT rowid FROM (
			SELECT rowid, time FROM scopes ORDER BY rowid LIMIT 2000) WHERE time < ?)`, eventstore.Micros(c.ScopesUntil)); err != nil {
			return err
		}
	}
	for _, name := range c.DropScopes {
		if _, err := e.w.exec("DELETE FROM scopes WHERE name = ?", name); err != nil {
			return err
		}
	}
	for i := range c.Scopes {
		s := &c.Scopes[i]
		if _, err := e.w.exec("INSERT INTO scopes VALUES (?, ?, ?, ?, ?, ?)", s.Name, int64(s.Shard), s.Digest[:],
			int64(s.First), int64(s.Count), eventstore.Micros(s.Time)); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) writeRows(rows []*eventstore.NewRow) error {
	for i, size := range insertSizes {
		for len(rows) >= size {
			if e.insert[i] == nil {
				s, err := e.w.prepare(insertSQL(size))
				if err != nil {
					return err
				}
				e.insert[i] = s
			}
			e.args = e.args[:0]
			for _, r := range rows[:size] {
				e.args = appendRow(e.args, r)
			}
			if _, err := e.insert[i].exec(e.args...); err != nil {
				return err
			}
			rows = rows[size:]
			if err := failpoint.Hit("sqlite.between-events"); err != nil {
				return err
			}
		}
	}
	clear(e.args)
	return nil
}

func appendRow(args []driver.Value, r *eventstore.NewRow) []driver.Value {
	var data, packed driver.Value
	if !r.Erased {
		data = []byte(r.Data)
	}
	if len(r.Packed) > 0 {
		packed = r.Packed
	}
	frame := eventstore.AppendFrame(make([]byte, 0, eventstore.FrameMeta+len(r.MetaBytes)), r)
	return append(args, eventKey(r.Shard, r.Feed), r.LogKey, int64(r.Position), r.StreamKey, int64(r.Version), r.Type, frame, data, packed)
}

// Erase empties rows; the freed bytes are overwritten and the write-ahead log,
// which still has them, is emptied.
func (e *Engine) Erase(_ context.Context, x *eventstore.Erasure) error {
	if len(x.Rows) > 0 {
		if err := e.tx(func() error { return e.eraseRows(x) }); err != nil {
			return err
		}
	}
	if len(x.Rows) == 0 && !e.dirty.Load() {
		return nil
	}
	e.dirty.Store(true)
	// This process's reads, which last milliseconds, are held back; for another's
	// a few short attempts find a moment, and appends get their turn in between.
	for range cap(e.reading) {
		e.reading <- struct{}{}
	}
	defer func() {
		for range cap(e.reading) {
			<-e.reading
		}
	}()
	for range 40 {
		done, err := e.emptyLog()
		if err != nil {
			return fmt.Errorf("empty the write-ahead log: %w", err)
		}
		if done {
			e.dirty.Store(false)
			return nil
		}
	}
	return fmt.Errorf("the records are erased, but long reads keep their bytes in the write-ahead log: erase them once more")
}

func (e *Engine) emptyLog() (done bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	none := func([]driver.Value) error { return nil }
	if _, err := e.w.one("PRAGMA busy_timeout(50)", none); err != nil {
		return false, err
	}
	_, err = e.w.one("PRAGMA wal_checkpoint(TRUNCATE)", func(row []driver.Value) error {
		done = row[0].(int64) == 0
		return nil
	})
	_, err2 := e.w.one("PRAGMA "+pragmas[0], none)
	return done, errors.Join(err, err2)
}

func (e *Engine) eraseRows(x *eventstore.Erasure) error {
	for _, k := range x.Rows {
		if _, err := e.w.exec("UPDATE events SET data = NULL, packed = NULL, frame = CAST(substr(frame, 1, ?) || zeroblob(16) || substr(frame, ?) AS BLOB) WHERE key = ?",
			int64(eventstore.FrameSalt), int64(eventstore.FrameMeta+1), eventKey(k.Shard, k.Feed)); err != nil {
			return err
		}
	}
	if err := e.putBlobs(x.Put); err != nil {
		return err
	}
	for k, packed := range x.Repack {
		if _, err := e.w.exec("UPDATE events SET packed = ? WHERE key = ?", packed, eventKey(k.Shard, k.Feed)); err != nil {
			return err
		}
	}
	for _, ref := range x.Deleted {
		if _, err := e.w.exec("DELETE FROM blobs WHERE ref = ?", ref); err != nil {
			return err
		}
	}
	return nil
}
