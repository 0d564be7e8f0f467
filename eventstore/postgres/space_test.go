package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"varve/eventstore"
)

// A full disk of the server is the same as a full disk here: it passes.
func TestFullServerIsNoSpace(t *testing.T) {
	err := explain(&pgconn.PgError{Code: "53100", Message: "could not extend file"})
	if !errors.Is(err, eventstore.ErrNoSpace) || code(err) != "53100" || !strings.Contains(err.Error(), "disk is full, nothing was written") {
		t.Errorf("%v", err)
	}
	if err := explain(&pgconn.PgError{Code: "53300", Message: "too many"}); errors.Is(err, eventstore.ErrNoSpace) {
		t.Errorf("%v", err)
	}
}
