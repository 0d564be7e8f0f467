package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"varve/eventstore"
)

// blobs is a blob store in a map.
type blobs struct {
	mu     sync.Mutex
	m      map[string][]byte
	broken error
	away   error // of Get
	onGet  func(ref string)
}

func (b *blobs) Put(_ context.Context, p []byte) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return "", b.broken
	}
	ref := fmt.Sprintf("%x", sha256.Sum256(p))
	b.m[ref] = bytes.Clone(p)
	return ref, nil
}

func (b *blobs) Get(_ context.Context, ref string) ([]byte, error) {
	if f := b.onGet; f != nil {
		b.onGet = nil
		f(ref)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away != nil {
		return nil, b.away
	}
	p, ok := b.m[ref]
	if !ok {
		return nil, fmt.Errorf("blob %s is missing", ref)
	}
	return p, nil
}

func (b *blobs) Delete(_ context.Context, ref string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.m, ref)
	return nil
}

// blobStore: big attachments lie outside, are found again, and go when erased.
func blobStore(t *testing.T, open Opener, f Features) {
	b := &blobs{m: map[string][]byte{}}
	opts := eventstore.Options{Blobs: b}
	s := open(t, opts)
	defer func() { s.Close() }()
	big := func(n byte) eventstore.Event {
		return eventstore.Event{Type: "a.b", Data: []byte(`{}`), Attachments: []eventstore.Attachment{{Name: "v", Bytes: bytes.Repeat([]byte{n}, 40_000)}}}
	}
	put(t, s, one("l", "s", any(), event(0), eventstore.Event{Type: "a.b", Data: []byte(`{}`), Attachments: []eventstore.Attachment{{Name: "v", Bytes: []byte{1}}}}))
	if len(b.m) != 0 {
		t.Fatal("small attachments were packed")
	}
	a := put(t, s, one("l", "s", any(), big(1), big(2), big(3)))
	put(t, s, one("l", "s", any(), big(1), big(2), big(3))) // the same bytes in another append: a blob of its own
	if len(b.m) != 2 {
		t.Fatalf("%d blobs", len(b.m))
	}
	if f.Reopen != nil {
		s = f.Reopen(t, s, opts)
	}
	if d := differ(a.Records, collect(t, s.Read(ctx(t), "l", 2, 3))); d != "" {
		t.Fatal(d)
	}
	// Whoever sweeps the blob store learns of every reference, and reads no blob.
	b.onGet = func(ref string) { t.Errorf("blob %s was read", ref) }
	referred := map[string]int{}
	rows := 0
	if err := s.(eventstore.Importer).References(ctx(t), 0, func(data json.RawMessage, ref string) error {
		if rows++; ref != "" {
			referred[ref]++
		}
		if len(data) == 0 {
			t.Error("a record has no data")
		}
		return nil
	}); err != nil || rows != 8 || len(referred) != 2 {
		t.Fatal(rows, referred, err)
	}
	for ref, n := range referred {
		if b.m[ref] == nil || n != 3 {
			t.Error(ref, n)
		}
	}
	// While a reader is between row and blob, a record beside its own is erased.
	b.onGet = func(string) {
		if err := s.Erase(ctx(t), "l", 4); err != nil {
			t.Error(err)
		}
	}
	got := collect(t, s.Read(ctx(t), "l", 2, 1))
	if d := differ(a.Records[:1], got); d != "" {
		t.Fatal(d)
	}
	if got := collect(t, s.Read(ctx(t), "l", 2, 3)); !got[1].Erased || got[0].Erased || len(got[2].Attachments[0].Bytes) != 40_000 {
		t.Fatal("another record than the erased one changed")
	}
	for ref, p := range b.m {
		if bytes.Contains(p, bytes.Repeat([]byte{2}, 100)) && bytes.Contains(p, bytes.Repeat([]byte{1}, 100)) && len(b.m) != 2 {
			t.Errorf("blob %s still has what was erased", ref)
		}
	}
	if err := s.Erase(ctx(t), "l", 3, 5); err != nil {
		t.Fatal(err)
	}
	if len(b.m) != 1 {
		t.Errorf("%d blobs are left, one is referred to", len(b.m))
	}
	Whole(t, s)
	// A blob store that fails fails the append, before anything is written.
	b.broken = errors.New("bucket unreachable")
	head, _ := s.Head(ctx(t), 0)
	if _, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("l", "s", any(), big(1), big(2))}}); !errors.Is(err, b.broken) {
		t.Fatal(err)
	}
	if h, _ := s.Head(ctx(t), 0); h != head {
		t.Fatal("something was written")
	}
	// A blob store that is away for a while damages nothing.
	b.away = fmt.Errorf("bucket: %w", eventstore.ErrBlobsUnavailable)
	var damaged *eventstore.DamagedError
	for _, err := range s.Read(ctx(t), "l", 5, 0) {
		if !errors.Is(err, eventstore.ErrBlobsUnavailable) || errors.As(err, &damaged) {
			t.Fatal(err)
		}
	}
	if rep, err := eventstore.Verify(ctx(t), s, "l"); !errors.Is(err, eventstore.ErrBlobsUnavailable) {
		t.Fatal(rep, err)
	}
	b.away = nil
	// A lost blob is named by the position that needs it.
	for ref := range b.m {
		delete(b.m, ref)
	}
	for _, err := range s.Read(ctx(t), "l", 5, 0) {
		if !errors.As(err, &damaged) || damaged.Position != 6 {
			t.Fatal(err)
		}
	}
	if rep, err := eventstore.Verify(ctx(t), s, "l"); err != nil || rep.Bad != 6 {
		t.Fatal(rep, err)
	}
}
