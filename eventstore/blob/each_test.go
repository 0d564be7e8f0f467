package blob

import (
	"bytes"
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

// What was packed last is read from memory, within a bound; what was deleted is gone.
func TestPackedIsRemembered(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	p := s.Packed("log")
	var refs []string
	for i := range 40 {
		ref, err := p.Put(ctx, bytes.Repeat([]byte{byte(i)}, 2<<20))
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	if s.recent.size > recentBytes || s.recent.size < recentBytes/2 || len(s.recent.found) != s.recent.order.Len() {
		t.Errorf("%d bytes are held, %d and %d blobs", s.recent.size, len(s.recent.found), s.recent.order.Len())
	}
	for _, ref := range refs {
		if err := s.Delete(ctx, "log", ref); err != nil { // behind its back
			t.Fatal(err)
		}
	}
	if b, err := p.Get(ctx, refs[39]); err != nil || len(b) != 2<<20 || b[0] != 39 {
		t.Errorf("the last one is not remembered: %d bytes, %v", len(b), err)
	}
	if _, err := p.Get(ctx, refs[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("the first one is remembered: %v", err)
	}
	if err := p.Delete(ctx, refs[39]); err != nil {
		t.Error(err)
	}
	if _, err := p.Get(ctx, refs[39]); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted one is remembered: %v", err)
	}
}
