package blob

import (
	"bytes"
	"context"

	"varve/eventstore"
)

// Packed keeps packed attachments of an event store in one scope; it implements
// eventstore.Blobs and eventstore.BlobDeleter. What was put or read last is kept
// in memory too, 64 MiB of a store.
type Packed struct {
	store *Store
	scope string
}

var (
	_ eventstore.Blobs       = Packed{}
	_ eventstore.BlobDeleter = Packed{}
)

// Packed gives the packed attachments of a scope.
func (s *Store) Packed(scope string) Packed { return Packed{s, scope} }

// Put keeps bytes durably and gives their digest.
func (p Packed) Put(ctx context.Context, b []byte) (string, error) {
	ref, err := p.store.Put(ctx, p.scope, bytes.NewReader(b))
	if err == nil {
		p.store.recent.add(p.scope+ref.Digest, bytes.Clone(b))
	}
	return ref.Digest, err
}

// Get gives the bytes of a digest, checked. They must not be changed.
func (p Packed) Get(ctx context.Context, digest string) ([]byte, error) {
	if b, ok := p.store.recent.take(p.scope + digest); ok {
		return b, nil
	}
	b, err := p.store.Read(ctx, p.scope, digest)
	if err == nil {
		p.store.recent.add(p.scope+digest, b)
	}
	return b, err
}

// Delete removes them.
func (p Packed) Delete(ctx context.Context, digest string) error {
	p.store.recent.forget(p.scope + digest)
	return p.store.Delete(ctx, p.scope, digest)
}
