package blob

import (
	"bytes"
	"context"
)

// Packed keeps packed attachments of an event store in one scope; it implements
// eventstore.Blobs and eventstore.BlobDeleter.
type Packed struct {
	store *Store
	scope string
}

// Packed gives the packed attachments of a scope.
func (s *Store) Packed(scope string) Packed { return Packed{s, scope} }

// Put keeps bytes durably and gives their digest.
func (p Packed) Put(ctx context.Context, b []byte) (string, error) {
	ref, err := p.store.Put(ctx, p.scope, bytes.NewReader(b))
	return ref.Digest, err
}

// Get gives the bytes of a digest, checked.
func (p Packed) Get(ctx context.Context, digest string) ([]byte, error) {
	return p.store.Read(ctx, p.scope, digest)
}

// Delete removes them.
func (p Packed) Delete(ctx context.Context, digest string) error {
	return p.store.Delete(ctx, p.scope, digest)
}
