package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"varve/eventstore"
)

// found is a stream in one piece of a log.
type found struct {
	key            int64 // 0: it has none there
	newest         uint64
	newestPosition uint64
}

// find looks streams up in logs, all in one round trip.
func (e *Engine) find(ctx context.Context, c *pgx.Conn, logs []int64, names []string) ([]found, error) {
	out := make([]found, len(logs))
	err := each(ctx, c, func(v [][]byte) error {
		out[toInt(v[0])-1] = found{toInt(v[1]), toUint(v[2]), toUint(v[3])}
		return nil
	}, e.sql.streams, logs, names)
	return out, err
}

// Streams finds streams as of their logs' ranges.
func (e *Engine) Streams(ctx context.Context, wants []eventstore.StreamWant) (out []eventstore.StreamInfo, err error) {
	err = e.read(ctx, func(c *pgx.Conn) error {
		out = make([]eventstore.StreamInfo, len(wants))
		var logs []int64
		var names []string
		for _, w := range wants {
			for _, p := range w.Pieces {
				logs, names = append(logs, p.Key), append(names, w.Name)
			}
		}
		all, err := e.find(ctx, c, logs, names)
		if err != nil {
			return err
		}
		for i, w := range wants {
			if out[i], err = e.newest(ctx, c, w.Pieces, all[:len(w.Pieces)]); err != nil {
				return err
			}
			all = all[len(w.Pieces):]
		}
		return nil
	})
	return out, err
}

// newest is the state of a stream as a log with these pieces sees it.
func (e *Engine) newest(ctx context.Context, c *pgx.Conn, pieces []eventstore.Piece, in []found) (s eventstore.StreamInfo, err error) {
	for i := len(pieces) - 1; i >= 0; i-- {
		f := in[i]
		switch {
		case f.key == 0:
			continue
		case i == len(pieces)-1:
			return eventstore.StreamInfo{Key: f.key, Version: f.newest}, nil
		case f.newestPosition > 0 && f.newestPosition <= pieces[i].UpTo:
			return eventstore.StreamInfo{Version: f.newest}, nil
		}
		if err := each(ctx, c, func(v [][]byte) error {
			s.Version = toUint(v[0])
			return nil
		}, e.sql.last, f.key, int64(f.newest), signed(pieces[i].UpTo)); err != nil || s.Version > 0 {
			return s, err
		}
	}
	return s, nil
}

// ReadStream reads the records of a stream in a log's pieces.
func (e *Engine) ReadStream(ctx context.Context, pieces []eventstore.Piece, stream string, after uint64, limit int) (rows []eventstore.Row, more bool, err error) {
	err = e.read(ctx, func(c *pgx.Conn) error {
		rows, more = nil, false
		if len(pieces) == 1 {
			rows, err = e.page(ctx, c, min(limit, 16), e.sql.one, int64(limit), pieces[0].Key, stream, signed(after))
			more = full(rows, limit)
			return err
		}
		logs, names := make([]int64, len(pieces)), make([]string, len(pieces))
		for i, p := range pieces {
			logs[i], names[i] = p.Key, stream
		}
		in, err := e.find(ctx, c, logs, names)
		if err != nil {
			return err
		}
		for i, p := range pieces {
			if in[i].key == 0 || in[i].newest <= after {
				continue
			}
			left := limit - len(rows)
			part, err := e.page(ctx, c, min(left, 16), e.sql.stream, int64(left), in[i].key, signed(after))
			if err != nil {
				return err
			}
			whole := len(part)
			for k := range part {
				if part[k].Position > p.UpTo {
					part = part[:k]
					break
				}
			}
			rows = join(rows, part)
			if len(part) == whole && full(part, left) {
				more = true
				return nil
			}
		}
		return nil
	})
	return rows, more, err
}

const scopeColumns = "SELECT name, shard, digest, first, count, time FROM "

// Scope finds an idempotency row.
func (e *Engine) Scope(ctx context.Context, name string) (s eventstore.Scope, ok bool, err error) {
	err = e.read(ctx, func(c *pgx.Conn) error {
		return each(ctx, c, func(v [][]byte) error {
			s, ok = scope(v), true
			return nil
		}, scopeColumns+e.opts.Schema+".scopes WHERE id = $1", scopeID(name))
	})
	return s, ok, err
}

func scope(v [][]byte) (s eventstore.Scope) {
	s = eventstore.Scope{Name: string(v[0]), Shard: int(toInt(v[1])), First: toUint(v[3]), Count: int(toInt(v[4])), Time: eventstore.FromMicros(toInt(v[5]))}
	copy(s.Digest[:], v[2])
	return s
}

// Scopes lists a shard's idempotency rows. The index has the beginnings of names,
// which are in the order of the names themselves.
func (e *Engine) Scopes(ctx context.Context, shard int, after string, limit int) (out []eventstore.Scope, err error) {
	err = e.read(ctx, func(c *pgx.Conn) error {
		out = nil
		return each(ctx, c, func(v [][]byte) error {
			out = append(out, scope(v))
			return nil
		}, scopeColumns+e.opts.Schema+`.scopes WHERE shard = $1 AND left(name, 128) >= left($2::text COLLATE "C", 128) AND name > $2
			ORDER BY left(name, 128), name LIMIT $3`, int64(shard), after, int64(limit))
	})
	return out, err
}
