package http

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"varve/domain"
	"varve/eventstore/follow"
)

// Why nothing was done is said with what to do, and only what time heals is to be tried again.
func TestParkedErrors(t *testing.T) {
	for _, c := range []struct {
		err   error
		code  domain.Code
		again bool
		want  string
	}{
		{fmt.Errorf("documents, shard 2: %w", follow.ErrStandby), domain.CodeUnavailable, false, "shard 2 of documents is applied by another process"},
		{fmt.Errorf("documents: %w", follow.ErrNotParked), domain.CodeNotFound, false, "has not parked that any more"},
		{follow.ErrStopped, domain.CodeUnavailable, true, "does not run"},
		{context.DeadlineExceeded, domain.CodeUnavailable, true, "within 10s"},
		{follow.ErrMoved, domain.CodeUnavailable, true, "GET /v1/models says where"},
		{follow.Unavailable(errors.New("no disk")), domain.CodeUnavailable, true, "interrupted"},
		{errors.New("a surprise"), domain.CodeInternal, false, "went wrong"},
	} {
		e := clientError(parkedError("documents", 2, c.err))
		if e.Code != c.code || e.RetryAfter > 0 != c.again || !strings.Contains(e.Message, c.want) || strings.Contains(e.Message, "disk") {
			t.Errorf("%v gives %s %q, again after %v", c.err, e.Code, e.Message, e.RetryAfter)
		}
	}
}
