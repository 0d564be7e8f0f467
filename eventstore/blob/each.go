package blob

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Each calls fn for every blob of every scope, in no order; files that are no
// blobs are left out. An error of fn ends it.
func (s *Store) Each(ctx context.Context, fn func(scope string, ref Ref) error) error {
	if err := s.each(ctx, time.Time{}, fn); err != nil {
		return fmt.Errorf("list blobs: %w", err)
	}
	return nil
}

// each leaves blobs out that were put later than before, unless that is zero.
func (s *Store) each(ctx context.Context, before time.Time, fn func(scope string, ref Ref) error) error {
	return s.driver.list(ctx, func(e entry) error {
		scope, digest, ok := parseName(e.name)
		if !ok || !before.IsZero() && !e.modified.Before(before) {
			return nil
		}
		return fn(scope, Ref{digest, e.size})
	})
}

// Verify reads a blob whole: ErrNotFound where it is missing, ErrDamaged where its
// bytes do not have the digest.
func (s *Store) Verify(ctx context.Context, scope, digest string) error {
	r, err := s.Get(ctx, scope, digest)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}
