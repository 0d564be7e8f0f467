package eventstore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// Importer is what copying needs besides Import: logs that are branches, closed,
// or without records.
type Importer interface {
	// Logs lists the shard's logs in the order in which they were made.
	Logs(ctx context.Context, shard int) ([]LogID, error)
	// ImportLog makes a log with the ranges of another store's LogHead, before
	// its own records are imported and after those that it continues. Called for
	// a log that exists, it only closes it where head.Closed says so.
	ImportLog(ctx context.Context, log LogID, head LogHead) error
	// Scopes lists a shard's idempotency keys by name, those after a name, at most limit.
	Scopes(ctx context.Context, shard int, after string, limit int) ([]Scope, error)
	// ImportScopes remembers idempotency keys as they are, after their records
	// were imported; those that are known already stay.
	ImportScopes(ctx context.Context, shard int, scopes []Scope) error
	// References calls fn for every record of a shard with its data and, where its
	// attachments lie in Options.Blobs, their reference ("" otherwise), without
	// reading them. Erased records have neither.
	References(ctx context.Context, shard int, fn func(data json.RawMessage, blob string) error) error
}

func (s *store) Scopes(ctx context.Context, shard int, after string, limit int) ([]Scope, error) {
	scopes, err := s.engine.Scopes(ctx, shard, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list idempotency keys: %w", s.readError(err))
	}
	return scopes, nil
}

func (s *store) ImportScopes(ctx context.Context, shard int, scopes []Scope) error {
	err := s.inside(ctx, shard, func(c *committer) error {
		if err := c.catchUp(); err != nil {
			return err
		}
		commit := Commit{Shard: shard, Old: c.head, New: c.head}
		commit.New.Token++
		known, err := s.knownScopes(ctx, shard, scopes)
		if err != nil {
			return err
		}
		for _, sc := range scopes {
			if !known[sc.Name] {
				sc.Shard = shard
				commit.Scopes = append(commit.Scopes, sc)
			}
		}
		if len(commit.Scopes) == 0 {
			return nil
		}
		if err := s.engine.Commit(ctx, &commit); err != nil {
			c.forget()
			return err
		}
		c.head = commit.New
		return nil
	})
	if err != nil {
		return fmt.Errorf("import idempotency keys: %w", err)
	}
	return nil
}

// knownScopes says which of some idempotency keys, in the order of their names, the shard has.
func (s *store) knownScopes(ctx context.Context, shard int, scopes []Scope) (map[string]bool, error) {
	known := map[string]bool{}
	if len(scopes) == 0 {
		return known, nil
	}
	first, last := scopes[0].Name, scopes[len(scopes)-1].Name
	_, there, err := s.engine.Scope(ctx, first)
	if err != nil {
		return nil, err
	}
	known[first] = there
	for after := first; after < last; {
		page, err := s.engine.Scopes(ctx, shard, after, len(scopes))
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		for _, sc := range page {
			known[sc.Name] = true
		}
		after = page[len(page)-1].Name
	}
	return known, nil
}

func (s *store) Logs(ctx context.Context, shard int) ([]LogID, error) {
	names, err := s.engine.LogNames(ctx, shard)
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", s.readError(err))
	}
	return names, nil
}

// inside runs fn in the committer's goroutine of a shard, alone.
func (s *store) inside(ctx context.Context, shard int, fn func(*committer) error) error {
	if shard < 0 || shard >= len(s.shards) {
		return &InvalidError{"shard", fmt.Sprintf("is %d; the store has shards 0 to %d", shard, len(s.shards)-1)}
	}
	r := &request{a: Append{Shard: shard}, done: make(chan outcome, 1), exec: fn}
	out, err := s.send(ctx, r)
	if err != nil {
		return err
	}
	return out.err
}

func (s *store) Import(ctx context.Context, records []Record) error {
	for len(records) > 0 {
		n, bytes := 0, 0
		for n < len(records) && n < groupEvents && bytes < groupBytes && records[n].Shard == records[0].Shard {
			bytes += len(records[n].Data)
			for i := range records[n].Attachments {
				bytes += len(records[n].Attachments[i].Bytes)
			}
			n++
		}
		part := records[:n]
		err := s.inside(ctx, part[0].Shard, func(c *committer) error { return c.importRows(ctx, part) })
		if err != nil {
			return fmt.Errorf("import records: %w", err)
		}
		records = records[n:]
	}
	return nil
}

func (s *store) ImportLog(ctx context.Context, log LogID, head LogHead) error {
	err := s.inside(ctx, head.Shard, func(c *committer) error { return c.importLog(log, head) })
	if err != nil {
		return fmt.Errorf("import log: %w", err)
	}
	return nil
}

// importRows writes records as they are, after checking that they continue what
// is there: feed, positions, versions, digests and chain.
func (c *committer) importRows(ctx context.Context, records []Record) error {
	if err := c.catchUp(); err != nil {
		return err
	}
	g := &group{}
	g.commit = Commit{Shard: c.shard, Old: c.head, New: c.head}
	h := &g.commit.New
	h.Token++
	if err := c.prefetch(wantedBy(records)); err != nil {
		return err
	}
	made := map[*logState]bool{}
	records, rows := slices.Clone(records), make([]NewRow, len(records))
	for i := range records {
		row := &rows[i]
		row.Record = &records[i]
		if h.Feed == 0 && row.Feed > 0 {
			h.Feed, h.First = row.Feed-1, row.Feed
		}
		cut := h.First > 1
		if err := c.importRow(g, row, cut, made); err != nil {
			c.journal.undo(mark{})
			c.reset(true)
			return fmt.Errorf("record %d of the feed: %w", row.Feed, err)
		}
		if err := c.s.packImported(ctx, g, row); err != nil {
			c.journal.undo(mark{})
			c.reset(true)
			return fmt.Errorf("record %d of the feed: %w", row.Feed, err)
		}
		g.commit.Rows = append(g.commit.Rows, row)
	}
	err := c.s.engine.Commit(ctx, &g.commit)
	if err != nil {
		c.journal.undo(mark{})
	} else {
		c.head = g.commit.New
		c.s.shards[c.shard].advance(c.head.Feed)
	}
	c.reset(err != nil)
	return err
}

// wantedBy asks for the logs and streams of records as an append would.
func wantedBy(records []Record) []*request {
	r := &request{}
	seen := make(map[streamKey]bool, len(records))
	for i := range records {
		k := streamKey{records[i].Log, records[i].Stream}
		if !seen[k] {
			seen[k] = true
			r.a.Batches = append(r.a.Batches, Batch{Log: k.log, Stream: k.stream})
		}
	}
	return []*request{r}
}

// reset ends an import; after an error everything remembered is dropped.
func (c *committer) reset(failed bool) {
	c.journal.logs, c.journal.streams = c.journal.logs[:0], c.journal.streams[:0]
	if failed {
		c.forget()
	}
}

func (c *committer) importRow(g *group, row *NewRow, cut bool, made map[*logState]bool) error {
	h := &g.commit.New
	if row.Feed != h.Feed+1 {
		return fmt.Errorf("the store's next feed position is %d", h.Feed+1)
	}
	l, err := c.log(g, row.Log)
	if err != nil {
		return err
	}
	fresh := l.key == 0
	if !fresh && l.shard != c.shard {
		return fmt.Errorf("log %q lies on shard %d", row.Log, l.shard)
	}
	c.journal.log(l)
	if fresh && cut && row.Position > 0 {
		l.position = row.Position - 1
	}
	if row.Position != l.position+1 {
		return fmt.Errorf("log %q continues at position %d, not %d", row.Log, l.position+1, row.Position)
	}
	if fresh {
		made[l] = true
		c.create(g, l)
	}
	st, known := c.streams.find(streamKey{row.Log, row.Stream})
	switch {
	case known:
	case made[l]: // now, so it has no streams that are not remembered
		st = &streamState{}
		c.streams.put(streamKey{row.Log, row.Stream}, st)
	default:
		if st, err = c.stream(g, l, &Batch{Log: row.Log, Stream: row.Stream}); err != nil {
			return err
		}
	}
	c.journal.stream(st)
	if st.version == 0 && cut && row.Version > 0 {
		st.version = row.Version - 1
	}
	if row.Version != st.version+1 {
		return fmt.Errorf("stream %q continues at version %d, not %d", row.Stream, st.version+1, row.Version)
	}
	if st.key == 0 {
		h.Streams++
		st.key = c.key(h.Streams)
		g.commit.Streams = append(g.commit.Streams, NewStream{st.key, l.key, row.Stream, st.version})
	}
	st.assumed = false
	row.MetaBytes = AppendMetadata(nil, &row.Meta)
	anchor := fresh && cut && l.hash == Hash{}
	if !anchor && chainHash(c.space[:0], l.hash, row.Record, row.MetaBytes) != row.Hash {
		return fmt.Errorf("the hash at position %d of log %q is not that of the chain", row.Position, row.Log)
	}
	if !row.Erased && DataDigest(row.Salt, row.Data, row.Attachments) != row.Digest {
		return fmt.Errorf("data at position %d of log %q do not have the digest", row.Position, row.Log)
	}
	if row.Time.Before(l.time) {
		return fmt.Errorf("the time at position %d of log %q is before the one before", row.Position, row.Log)
	}
	if row.Erased {
		row.Data, row.Attachments, row.Salt = nil, nil, [16]byte{}
	}
	row.LogKey, row.StreamKey = l.key, st.key
	l.position, l.hash, l.time, l.feed = row.Position, row.Hash, row.Time, row.Feed
	h.Feed, st.version = row.Feed, row.Version
	return nil
}

// packImported decides where an imported record's attachments lie: each record
// for itself, as the appends that they came with are not known any more.
func (s *store) packImported(ctx context.Context, g *group, row *NewRow) error {
	n := 0
	for i := range row.Attachments {
		n += len(row.Attachments[i].Bytes)
	}
	if n <= inlineLimit {
		row.Packed = packInline(row.Attachments)
		return nil
	}
	salt := make([]byte, 16)
	if err := s.chance.fill(salt); err != nil {
		return err
	}
	r := &request{records: []Record{{}}, rows: make([]NewRow, 1)}
	if err := s.pack(ctx, r, []*Event{{Attachments: row.Attachments}}, salt); err != nil {
		return err
	}
	row.Packed = r.rows[0].Packed
	g.commit.Blobs = append(g.commit.Blobs, r.blobs...)
	return nil
}

func (c *committer) importLog(name LogID, head LogHead) error {
	if err := c.catchUp(); err != nil {
		return err
	}
	g := &group{}
	g.commit = Commit{Shard: c.shard, Old: c.head, New: c.head}
	g.commit.New.Token++
	l, err := c.log(g, name)
	if err != nil {
		return err
	}
	if l.key == 0 {
		c.journal.log(l)
		if n := len(head.Ranges); n > 1 {
			last := head.Ranges[n-2]
			from, err := c.log(g, last.Log)
			if err == nil && from.key == 0 {
				err = fmt.Errorf("the log that %q continues is not there yet", name)
			}
			if err == nil {
				err = c.fork(g, l, 0, &Fork{From: last.Log, UpTo: last.UpTo})
			}
			if err != nil {
				c.journal.undo(mark{})
				c.reset(true)
				return err
			}
		} else {
			c.create(g, l)
		}
	}
	if head.Closed && !l.closed {
		c.close(g, l)
	}
	if g.empty() {
		return nil
	}
	if err := c.s.engine.Commit(context.Background(), &g.commit); err != nil {
		c.journal.undo(mark{})
		c.reset(true)
		return err
	}
	c.head = g.commit.New
	c.reset(false)
	return nil
}
