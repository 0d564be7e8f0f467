package embedded

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"varve/eventstore"
	"varve/eventstore/blob"
)

// Shelf is a Publisher and a Source over a blob store: segments and entries are blobs,
// and which entry is a log's newest is kept elsewhere. Whoever sweeps the store keeps
// the blobs of newest entries, and what these name (SegmentsOf).
type Shelf struct {
	Blobs *blob.Store
	// Scope is where a log's blobs lie: its organization's.
	Scope func(log eventstore.LogID) string
	// Point makes the entry of a digest the log's newest, unless one of a higher position is.
	Point func(ctx context.Context, log eventstore.LogID, position uint64, digest string) error
	// Newest gives the digest that Point was given last, "" for none.
	Newest func(ctx context.Context, log eventstore.LogID) (digest string, err error)
}

var (
	_ Publisher = (*Shelf)(nil)
	_ Source    = (*Shelf)(nil)
)

const blobDigest = "sha256:"

// HasSegment asks the blob store.
func (s *Shelf) HasSegment(ctx context.Context, log eventstore.LogID, digest string) (bool, error) {
	return s.Blobs.Exists(ctx, s.Scope(log), blobDigest+digest)
}

// PutSegment puts a blob.
func (s *Shelf) PutSegment(ctx context.Context, log eventstore.LogID, digest string, _ int64, r io.Reader) error {
	ref, err := s.Blobs.Put(ctx, s.Scope(log), r)
	if err == nil && ref.Digest != blobDigest+digest {
		err = fmt.Errorf("segment %s has the bytes of %s", digest, ref.Digest)
	}
	return err
}

// PutEntry puts a blob and points at it.
func (s *Shelf) PutEntry(ctx context.Context, log eventstore.LogID, position uint64, entry []byte) error {
	ref, err := s.Blobs.Put(ctx, s.Scope(log), bytes.NewReader(entry))
	if err != nil {
		return err
	}
	return s.Point(ctx, log, position, ref.Digest)
}

// Entry reads the newest entry's blob.
func (s *Shelf) Entry(ctx context.Context, log eventstore.LogID) ([]byte, error) {
	digest, err := s.Newest(ctx, log)
	if err != nil || digest == "" {
		return nil, err
	}
	return s.Blobs.Read(ctx, s.Scope(log), digest)
}

// Segment opens a blob.
func (s *Shelf) Segment(ctx context.Context, log eventstore.LogID, digest string) (io.ReadCloser, error) {
	return s.Blobs.Get(ctx, s.Scope(log), blobDigest+digest)
}

// SegmentsOf gives the digests of the segments that an entry of a log names, and the
// position up to which they hold it.
func SegmentsOf(log eventstore.LogID, entry []byte) (position uint64, digests []string, err error) {
	e, err := decodeEntry(log, entry)
	if err != nil {
		return 0, nil, wrap("published entry of log "+string(log), err)
	}
	for _, s := range e.Segments {
		digests = append(digests, s.Digest)
	}
	return e.Applied, digests, nil
}
