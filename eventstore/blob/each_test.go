package blob

import (
	"errors"
	"maps"
	"testing"
	"time"
)

func TestEachAndVerify(t *testing.T) {
	every(t, func(t *testing.T, s *Store, _ func(time.Duration)) {
		want := map[string]int64{}
		for _, scope := range []string{"org_a", "org_b"} {
			for _, text := range []string{"one", "three"} {
				want[scope+" "+put(t, s, scope, text).Digest] = int64(len(text))
			}
		}
		got := map[string]int64{}
		if err := s.Each(ctx, func(scope string, ref Ref) error {
			got[scope+" "+ref.Digest] = ref.Size
			return s.Verify(ctx, scope, ref.Digest)
		}); err != nil || !maps.Equal(got, want) {
			t.Errorf("%v, %v", got, err)
		}
		stop := errors.New("enough")
		if err := s.Each(ctx, func(string, Ref) error { return stop }); !errors.Is(err, stop) {
			t.Error(err)
		}
		if err := s.Verify(ctx, "org_c", digestOf("one")); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
}
