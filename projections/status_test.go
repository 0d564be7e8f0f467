package projections

import (
	"context"
	"fmt"
	"testing"
)

// While a model is built anew its status says so, and how far that is.
func TestStatusOfARebuild(t *testing.T) {
	ctx, n := context.Background(), &names{version: 1}
	s := newStage(t, n)
	for i := range 20 {
		s.put(written(fmt.Sprint("d", i), "c", 1))
	}
	of := func() ModelStatus { return s.runner.Status()[0] }
	if got := of(); got.Rebuilding || got.Filling || got.Built != 1 || got.Lag != 0 {
		t.Errorf("before: %+v", got)
	}
	asked := 0
	if err := s.runner.Rebuild(ctx, "names", func(done, total uint64, _ float64) {
		asked++
		if got := of(); !got.Rebuilding || total > 0 && got.Built != min(1, float64(done)/float64(total)) {
			t.Errorf("at %d of %d: %+v", done, total, got)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got := of(); asked == 0 || got.Rebuilding || got.Built != 1 {
		t.Errorf("after %d: %+v", asked, got)
	}
}
