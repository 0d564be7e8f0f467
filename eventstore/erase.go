package eventstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// eraseAtOnce is how many records one transaction of Erase takes.
const eraseAtOnce = 500

func (s *store) Erase(ctx context.Context, log LogID, positions ...uint64) error {
	s.erase.Lock()
	defer s.erase.Unlock()
	if s.closed.Load() {
		return ErrStoreClosed
	}
	info, ok, err := s.logInfo(ctx, log)
	if err != nil {
		return fmt.Errorf("erase: %w", err)
	}
	if !ok {
		return &InvalidError{"log", fmt.Sprintf("%q does not exist", log)}
	}
	positions = slices.Clone(positions)
	slices.Sort(positions)
	for part := range slices.Chunk(slices.Compact(positions), eraseAtOnce) {
		if err := s.erasePart(ctx, info, part); err != nil {
			return fmt.Errorf("erase: %w", err)
		}
	}
	return nil
}

func (s *store) erasePart(ctx context.Context, info LogInfo, positions []uint64) error {
	e := Erasure{Repack: map[RowKey][]byte{}}
	gone := map[RowKey]bool{}
	shared := map[string]*sharedBlob{}
	for _, pos := range positions {
		row, err := s.rowAt(ctx, info, pos)
		if err != nil {
			return err
		}
		if row.Erased {
			continue
		}
		k := RowKey{row.Shard, row.Feed}
		e.Rows = append(e.Rows, k)
		gone[k] = true
		if len(row.Packed) > 0 && row.Packed[0] != inRow {
			p, err := parsePacked(row.Packed)
			if err != nil {
				return err
			}
			if shared[p.ref] == nil {
				shared[p.ref] = &sharedBlob{packed: p, shard: row.Shard, first: row.Feed - uint64(p.index)}
			}
		}
	}
	var outside []string
	for ref, b := range shared {
		if err := s.repack(ctx, &e, b, gone); err != nil {
			return err
		}
		if b.packed.where == inEngine {
			e.Deleted = append(e.Deleted, ref)
		} else {
			outside = append(outside, ref)
		}
	}
	if err := s.engine.Erase(ctx, &e); err != nil {
		return err
	}
	if d, ok := s.opts.Blobs.(BlobDeleter); ok {
		for _, ref := range outside {
			if err := d.Delete(ctx, ref); err != nil {
				return fmt.Errorf("delete attachments: %w", err)
			}
		}
	}
	return nil
}

// rowAt finds the row of a position as the log sees it.
func (s *store) rowAt(ctx context.Context, info LogInfo, pos uint64) (Row, error) {
	for _, piece := range info.Pieces {
		if pos > piece.UpTo {
			continue
		}
		row, ok, err := s.engine.Record(ctx, piece.Key, pos)
		if err != nil {
			return Row{}, err
		}
		if ok {
			return row, nil
		}
		break
	}
	return Row{}, &InvalidError{"positions", fmt.Sprintf("has %d, which the log does not hold", pos)}
}

// sharedBlob is a blob of which some records are erased.
type sharedBlob struct {
	packed *packed
	shard  int
	first  uint64 // feed position of the append's first record
}

// repack writes a new blob with what the records that stay have in the old one.
func (s *store) repack(ctx context.Context, e *Erasure, b *sharedBlob, gone map[RowKey]bool) error {
	type stay struct {
		key RowKey
		p   *packed
	}
	var stays []stay
	last := b.first + uint64(b.packed.count) - 1
	for after := b.first - 1; after < last; {
		rows, more, err := s.engine.ReadFeed(ctx, b.shard, after, int(min(last-after, pageRows)))
		if cut := (*TruncatedError)(nil); errors.As(err, &cut) && cut.First <= last {
			after = cut.First - 1
			continue
		}
		if err != nil {
			return err
		}
		for i := range rows {
			row := &rows[i]
			after = row.Feed
			k := RowKey{row.Shard, row.Feed}
			if gone[k] || len(row.Packed) == 0 || row.Packed[0] == inRow {
				continue
			}
			p, err := parsePacked(row.Packed)
			if err != nil {
				return err
			}
			if p.ref == b.packed.ref {
				stays = append(stays, stay{k, p})
			}
		}
		if !more {
			break
		}
	}
	if len(stays) == 0 {
		return nil
	}
	old, err := s.blob(ctx, b.packed)
	if err != nil {
		return fmt.Errorf("read attachments that stay: %w", err)
	}
	blob := make([]byte, 16, len(old))
	if err := s.chance.fill(blob); err != nil {
		return err
	}
	for _, st := range stays {
		for i := range st.p.parts {
			q := &st.p.parts[i]
			if q.offset+q.len > len(old) {
				return errDamaged
			}
			blob = append(blob, old[q.offset:q.offset+q.len]...)
			q.offset = len(blob) - q.len
		}
	}
	sum := sha256.Sum256(blob)
	ref := hex.EncodeToString(sum[:])
	if b.packed.where == inBlobs {
		if ref, err = s.opts.Blobs.Put(ctx, blob); err != nil {
			return fmt.Errorf("keep attachments that stay: %w", err)
		}
	} else {
		e.Put = append(e.Put, Blob{ref, blob})
	}
	for _, st := range stays {
		st.p.ref = ref
		e.Repack[st.key] = st.p.encode()
	}
	return nil
}

func (s *store) Truncate(ctx context.Context, shard int, upTo uint64) error {
	if s.closed.Load() {
		return ErrStoreClosed
	}
	head, err := s.Head(ctx, shard)
	if err != nil {
		return fmt.Errorf("truncate: %w", err)
	}
	if upTo > head {
		return &InvalidError{"up_to", fmt.Sprintf("is %d; the shard's head is %d", upTo, head)}
	}
	s.erase.Lock()
	defer s.erase.Unlock()
	if err := s.engine.Truncate(ctx, shard, upTo); err != nil {
		return fmt.Errorf("truncate the feed of shard %d: %w", shard, err)
	}
	return nil
}
