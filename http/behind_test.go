package http

import (
	"errors"
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"varve/domain"
	"varve/eventstore"
)

// Read models that are behind cannot say that something does not exist.
func TestNotFoundOfModelsBehind(t *testing.T) {
	missing := domain.NotFound("object", "obj_1")
	for _, c := range []struct {
		lag, query string
		err        error
		want       domain.Code
	}{
		{"", "", missing, domain.CodeNotFound},
		{"3", "", missing, domain.CodeUnavailable},
		{"3", "as_of=7", missing, domain.CodeNotFound},
		{"3", "", domain.Invalid("a", "type", "is wrong"), domain.CodeInvalid},
	} {
		w := httptest.NewRecorder()
		if c.lag != "" {
			w.Header().Set("Varve-Lag", c.lag)
		}
		query, _ := url.ParseQuery(c.query)
		if err := behind(&Call{Query: query, writer: w}, c.err); domain.CodeOf(err) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A blob store that does not answer is told as such, and as something that passes.
func TestBlobsUnavailable(t *testing.T) {
	st := newStack(t)
	w := httptest.NewRecorder()
	st.server.writeError(w, httptest.NewRequest(nethttp.MethodPost, "/v1/buckets", nil), fmt.Errorf("append: keep attachments: %w", eventstore.ErrBlobsUnavailable))
	if w.Code != 503 || w.Header().Get("Retry-After") != "5" || !strings.Contains(w.Body.String(), "nothing was changed") {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
}

// A full disk is told as such, and as something that passes.
func TestFullDisk(t *testing.T) {
	st := newStack(t)
	for _, err := range []error{fmt.Errorf("append config-ns_1: %w, nothing was written: %w", eventstore.ErrNoSpace, errors.New("(13)")), fmt.Errorf("write blob: %w", syscall.ENOSPC)} {
		w := httptest.NewRecorder()
		st.server.writeError(w, httptest.NewRequest(nethttp.MethodPost, "/v1/buckets", nil), err)
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "disk is full") {
			t.Errorf("%v is answered %d %s", err, w.Code, w.Body)
		}
	}
}
