package eventstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// DifferenceError says where two stores that should be equal are not.
type DifferenceError struct {
	Shard int
	Feed  uint64 // of the first record that differs; 0 where a log as a whole does
	Log   LogID
	What  string
}

// Error names the place and what differs.
func (e *DifferenceError) Error() string {
	switch {
	case e.Feed > 0:
		return fmt.Sprintf("the target differs from the source at feed position %d of shard %d: %s", e.Feed, e.Shard, e.What)
	case e.Log != "":
		return fmt.Sprintf("log %s of the target differs from the source: %s", e.Log, e.What)
	}
	return fmt.Sprintf("shard %d of the target differs from the source: %s", e.Shard, e.What)
}

// elsewhere is what a target that must not be written to is told.
const elsewhere = "it belongs to another installation; name an empty target"

// prefix checks that what a shard of the target holds is the beginning of the source's.
func prefix(ctx context.Context, from, to Owner, src, dst Importer, shard int) error {
	head, err := to.Head(ctx, shard)
	if err != nil {
		return err
	}
	have, err := from.Head(ctx, shard)
	if err != nil {
		return err
	}
	logs, err := dst.Logs(ctx, shard)
	if err != nil {
		return err
	}
	known, err := src.Logs(ctx, shard)
	if err != nil {
		return err
	}
	there := make(map[LogID]bool, len(known))
	for _, name := range known {
		there[name] = true
	}
	for _, name := range logs {
		if !there[name] {
			return &DifferenceError{Shard: shard, Log: name, What: "the source does not have it: " + elsewhere}
		}
	}
	switch {
	case head == 0:
		return nil
	case head > have:
		return &DifferenceError{Shard: shard, What: fmt.Sprintf("it has %d records, the source %d: %s", head, have, elsewhere)}
	}
	last, err := one(to.Feed(ctx, shard, head-1, 1))
	if err != nil {
		return err
	}
	same, err := one(from.Feed(ctx, shard, head-1, 1))
	if cut := (*TruncatedError)(nil); errors.As(err, &cut) {
		return &DifferenceError{Shard: shard, Feed: head, What: "the source has cut it since the copy began; name an empty target"}
	}
	if err != nil {
		return err
	}
	if last.ID != same.ID || last.Hash != same.Hash {
		return &DifferenceError{Shard: shard, Feed: head, Log: last.Log, What: fmt.Sprintf("record %s is not record %s: %s", last.ID, same.ID, elsewhere)}
	}
	return nil
}

func one(records iter.Seq2[Record, error]) (Record, error) {
	for r, err := range records {
		return r, err
	}
	return Record{}, nil
}

// Compare reads both stores whole and says whether the second holds exactly what
// the first does, byte by byte, and under the same hashes: *DifferenceError where
// it does not. Records that were erased in both are equal. progress is as Copy's.
func Compare(ctx context.Context, from, to Owner, progress func(shard int, done, total uint64)) error {
	src, ok1 := from.(Importer)
	dst, ok2 := to.(Importer)
	if !ok1 || !ok2 || from.Shards() != to.Shards() {
		return fmt.Errorf("compare stores: %d shards with %d", from.Shards(), to.Shards())
	}
	for shard := range from.Shards() {
		if err := compareLogs(ctx, from, to, src, dst, shard); err != nil {
			return fmt.Errorf("compare stores: %w", err)
		}
		if err := compareFeeds(ctx, from, to, shard, progress); err != nil {
			return fmt.Errorf("compare stores: %w", err)
		}
	}
	return nil
}

func compareLogs(ctx context.Context, from, to Owner, src, dst Importer, shard int) error {
	names, err := src.Logs(ctx, shard)
	if err != nil {
		return err
	}
	copies, err := dst.Logs(ctx, shard)
	if err != nil {
		return err
	}
	if len(names) != len(copies) {
		return &DifferenceError{Shard: shard, What: fmt.Sprintf("it has %d logs, the source %d", len(copies), len(names))}
	}
	for _, name := range names {
		a, err := from.LogHead(ctx, name)
		if err != nil {
			return err
		}
		b, err := to.LogHead(ctx, name)
		if err != nil {
			return err
		}
		switch {
		case !b.Exists:
			err = &DifferenceError{Shard: shard, Log: name, What: "it is missing"}
		case a.Position != b.Position || a.Hash != b.Hash:
			err = &DifferenceError{Shard: shard, Log: name, What: fmt.Sprintf("it ends at position %d with hash %s, the source at %d with %s", b.Position, b.Hash, a.Position, a.Hash)}
		case a.Closed != b.Closed || a.Shard != b.Shard || !slices.Equal(a.Ranges, b.Ranges):
			err = &DifferenceError{Shard: shard, Log: name, What: "it continues other logs, or is closed in one and open in the other"}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func compareFeeds(ctx context.Context, from, to Owner, shard int, progress func(int, uint64, uint64)) error {
	total, err := from.Head(ctx, shard)
	if err != nil {
		return err
	}
	head, err := to.Head(ctx, shard)
	if err != nil {
		return err
	}
	if head != total {
		return &DifferenceError{Shard: shard, What: fmt.Sprintf("it has %d records, the source %d: something was appended meanwhile, or the copy did not end", head, total)}
	}
	start, err := begins(ctx, from, shard)
	if err != nil {
		return err
	}
	next, stop := iter.Pull2(to.Feed(ctx, shard, start, 0))
	defer stop()
	for a, err := range from.Feed(ctx, shard, start, 0) {
		if err != nil {
			return fmt.Errorf("source: %w", err)
		}
		b, err, ok := next()
		if err != nil {
			return fmt.Errorf("target: %w", err)
		}
		if !ok {
			return &DifferenceError{Shard: shard, Feed: a.Feed, Log: a.Log, What: "it is missing"}
		}
		if what := difference(&a, &b); what != "" {
			return &DifferenceError{Shard: shard, Feed: a.Feed, Log: a.Log, What: what}
		}
		if progress != nil && (a.Feed%1000 == 0 || a.Feed == total) {
			progress(shard, a.Feed, total)
		}
	}
	return nil
}

// begins is the feed position before the first record that is still there.
func begins(ctx context.Context, s Owner, shard int) (uint64, error) {
	_, err := one(s.Feed(ctx, shard, 0, 1))
	if cut := (*TruncatedError)(nil); errors.As(err, &cut) {
		return cut.First - 1, nil
	}
	return 0, err
}

// difference says what of a record is not as in another one; "" where nothing is.
func difference(a, b *Record) string {
	switch {
	case a.ID != b.ID || a.Log != b.Log || a.Position != b.Position || a.Feed != b.Feed:
		return fmt.Sprintf("record %s, position %d of log %s, is not record %s, position %d of log %s", b.ID, b.Position, b.Log, a.ID, a.Position, a.Log)
	case a.Hash != b.Hash || a.Digest != b.Digest || a.Salt != b.Salt:
		return "its hash, digest or salt is another one"
	case a.Stream != b.Stream || a.Version != b.Version || a.Type != b.Type || a.Schema != b.Schema || a.Meta != b.Meta || !a.Time.Equal(b.Time):
		return "its stream, version, type, time or metadata are others"
	case a.Erased != b.Erased:
		return "it is erased in one of them"
	case !bytes.Equal(a.Data, b.Data):
		return "its data are others"
	case !slices.EqualFunc(a.Attachments, b.Attachments, func(x, y Attachment) bool { return x.Name == y.Name && bytes.Equal(x.Bytes, y.Bytes) }):
		return "its attachments are others"
	}
	return ""
}
