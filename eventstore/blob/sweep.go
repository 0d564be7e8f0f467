package blob

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Grace is how long a blob is kept although no record refers to it: the append
// that will refer to it may be on its way.
const Grace = 24 * time.Hour

// Swept says what a sweep removed.
type Swept struct {
	Blobs     int
	Bytes     int64
	Leftovers int // temporary files of writes that a crash ended
}

// Old calls fn for every blob that was put longer than Grace ago: those that Sweep asks about.
func (s *Store) Old(ctx context.Context, fn func(scope string, ref Ref) error) error {
	if err := s.each(ctx, s.now().Add(-Grace), fn); err != nil {
		return fmt.Errorf("list old blobs: %w", err)
	}
	return nil
}

// Sweep removes blobs that were put longer than Grace ago and that referenced says no to.
// It asks about every old blob, of packed attachments too (scope of Packed), and an
// error of it ends the sweep: in doubt a blob stays.
func (s *Store) Sweep(ctx context.Context, referenced func(ctx context.Context, scope, digest string) (bool, error)) (Swept, error) {
	var swept Swept
	before := s.now().Add(-Grace)
	err := s.each(ctx, before, func(scope string, ref Ref) error {
		used, err := referenced(ctx, scope, ref.Digest)
		if err != nil || used {
			return err
		}
		removed, err := s.removeOld(ctx, nameOf(scope, strings.TrimPrefix(ref.Digest, digestPrefix)), before)
		if removed {
			swept.Blobs++
			swept.Bytes += ref.Size
		}
		return err
	})
	if err != nil {
		return swept, fmt.Errorf("sweep blobs: %w", err)
	}
	if swept.Leftovers, err = s.driver.leftovers(ctx, before); err != nil {
		return swept, fmt.Errorf("sweep temporary files: %w", err)
	}
	return swept, nil
}

// removeOld removes a blob unless it was put again meanwhile.
func (s *Store) removeOld(ctx context.Context, name string, before time.Time) (bool, error) {
	s.finish.Lock()
	defer s.finish.Unlock()
	e, err := s.driver.stat(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil || !e.modified.Before(before) {
		return false, err
	}
	return true, s.driver.remove(ctx, name)
}
