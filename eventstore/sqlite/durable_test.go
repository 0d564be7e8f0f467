package sqlite

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"varve/eventstore"
)

func engine(t *testing.T, path string) *Engine {
	t.Helper()
	e, err := OpenEngine(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func owner(t *testing.T, e *Engine, opts eventstore.Options) eventstore.Owner {
	t.Helper()
	s, err := eventstore.NewOwner(e, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func appendOne(s eventstore.Owner, stream string, size int) error {
	_, err := s.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{{Log: "l", Stream: stream,
		Events: []eventstore.Event{{Type: "a.b", Data: fmt.Appendf(nil, `{"x":%q}`, bytes.Repeat([]byte{'x'}, size))}}}}})
	return err
}

// TestCommitterConnectionIsDurable reads the pragmas of the very connection that
// commits. A lost power supply cannot be tested; what keeps it harmless can.
func TestCommitterConnectionIsDurable(t *testing.T) {
	e := engine(t, filepath.Join(t.TempDir(), "log.db"))
	s := owner(t, e, eventstore.Options{})
	if err := appendOne(s, "s", 10); err != nil {
		t.Fatal(err)
	}
	for pragma, want := range map[string]driver.Value{
		"synchronous": int64(2), "journal_mode": "wal", "secure_delete": int64(1), "fullfsync": nil, "locking_mode": "normal", "query_only": int64(0),
	} {
		if want == nil {
			continue
		}
		var got driver.Value
		if _, err := e.w.one("PRAGMA "+pragma, func(row []driver.Value) error { got = row[0]; return nil }); err != nil || got != want {
			t.Errorf("%s of the committer's connection is %v, must be %v (%v)", pragma, got, want, err)
		}
	}
	if err := e.read(context.Background(), func(c *conn) error {
		if _, err := c.exec("DELETE FROM events"); err == nil {
			t.Error("a reading connection can write")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestDiskFull: what does not fit is refused with a clear error, what was
// acknowledged stays, and it goes on as soon as there is room.
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	e := engine(t, path)
	s := owner(t, e, eventstore.Options{})
	limit := func(pages string) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if err := e.w.query("PRAGMA max_page_count = "+pages, func([]driver.Value) (bool, error) { return true, nil }); err != nil {
			t.Fatal(err)
		}
	}
	limit("100")
	acked := 0
	var full error
	for i := 0; full == nil && i < 1000; i++ {
		if full = appendOne(s, fmt.Sprint("s", i), 2000); full == nil {
			acked++
		}
	}
	if full == nil || !strings.Contains(full.Error(), "disk is full") || !errors.Is(full, eventstore.ErrNoSpace) || errors.Is(full, eventstore.ErrUnknownOutcome) {
		t.Fatalf("after %d appends: %v", acked, full)
	}
	small := 0
	for i := range 50 { // those that fit still go through, also beside those that do not
		if appendOne(s, fmt.Sprint("small", i), 1) == nil {
			small++
		}
	}
	limit("100000")
	if err := appendOne(s, "after", 2000); err != nil {
		t.Fatal(err)
	}
	check := func(s eventstore.Owner) {
		t.Helper()
		n := 0
		for r, err := range s.Read(context.Background(), "l", 0, 0) {
			if n++; err != nil || r.Position != uint64(n) || r.Feed != uint64(n) {
				t.Fatal(r, err)
			}
		}
		if n != acked+small+1 {
			t.Fatalf("%d records, %d acknowledged", n, acked+small+1)
		}
		if rep, err := eventstore.Verify(context.Background(), s, "l"); err != nil || !rep.OK() {
			t.Fatal(rep, err)
		}
	}
	check(s)
	s.Close()
	check(owner(t, engine(t, path), eventstore.Options{}))
}

// TestOpenSaysWhatIsWrong: every way in which a path can be unusable.
func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("not a database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	two := filepath.Join(dir, "two.db")
	if s, err := Open(two, Options{Shards: 2}); err != nil {
		t.Fatal(err)
	} else {
		s.Close()
	}
	newer := filepath.Join(dir, "newer.db")
	e := engine(t, newer)
	if _, err := e.w.exec("UPDATE store SET format = 99"); err != nil {
		t.Fatal(err)
	}
	e.Close()
	for _, c := range []struct {
		path   string
		shards int
		want   string
	}{
		{filepath.Join(dir, "nowhere", "log.db"), 0, "the directory does not exist"},
		{dir, 0, "cannot be opened"},
		{garbage, 0, "is not a database"},
		{two, 3, "made with 2 shards, not 3"},
		{newer, 0, "has format 99"},
	} {
		s, err := Open(c.path, Options{Shards: c.shards})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("open %s: %v, must say %q", c.path, err, c.want)
		}
	}
	if s, err := Open(two, Options{}); err != nil || s.Shards() != 2 {
		t.Error(err)
	} else {
		s.Close()
	}
}

// TestReadOnlyDirectory runs itself as a user who may not write, as root may.
func TestReadOnlyDirectory(t *testing.T) {
	if dir := os.Getenv("VARVE_READ_ONLY_DIR"); dir != "" {
		for _, name := range []string{"new.db", "old.db"} {
			s, err := Open(filepath.Join(dir, name), Options{})
			if err == nil {
				err = errors.Join(appendOne(s, "s", 1), s.Close())
			}
			fmt.Printf("%s: %v\n", name, err)
		}
		return
	}
	dir := t.TempDir()
	if s, err := Open(filepath.Join(dir, "old.db"), Options{}); err != nil || appendOne(s, "s", 1) != nil || s.Close() != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	os.Chmod(filepath.Join(dir, "old.db"), 0o444)
	os.Chmod(dir, 0o555)
	defer os.Chmod(dir, 0o755)
	exe := os.Args[0]
	if os.Geteuid() == 0 { // the other user cannot enter the directory of the test's binary
		exe = "/proc/self/exe"
	}
	cmd := exec.Command(exe, "-test.run=^TestReadOnlyDirectory$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "VARVE_READ_ONLY_DIR="+dir)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"new.db: open store", "cannot be opened: its directory must exist and be writable", "old.db: open store", "read-only: make it and its directory writable"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the answers do not say %q:\n%s", want, out)
		}
	}
}

// TestTamperedFileIsFound: a tampered file is found, at the first position.
func TestTamperedFileIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		sql string
		at  uint64
	}{
		"data":           {"UPDATE events SET data = CAST('{\"x\":\"y\"}' AS BLOB) WHERE position = 5", 5},
		"type":           {"UPDATE events SET type = 'a.c' WHERE position = 3", 3},
		"stream name":    {"UPDATE streams SET name = 'other' WHERE stream = (SELECT stream FROM events WHERE position = 4)", 4},
		"time":           {"UPDATE events SET frame = CAST(substr(frame, 1, 87) || x'00' || substr(frame, 89) AS BLOB) WHERE position = 6", 6},
		"hash":           {"UPDATE events SET frame = CAST(substr(frame, 1, 48) || zeroblob(32) || substr(frame, 81) AS BLOB) WHERE position = 2", 2},
		"metadata":       {"UPDATE events SET frame = CAST(substr(frame, 1, 109) || 'X' || substr(frame, 111) AS BLOB) WHERE position = 7", 7},
		"gone":           {"DELETE FROM events WHERE position = 8", 8},
		"attachment":     {"UPDATE events SET packed = CAST(substr(packed, 1, 4) || x'ff' || substr(packed, 6) AS BLOB) WHERE position = 9", 9},
		"blob":           {"UPDATE blobs SET bytes = CAST(substr(bytes, 1, 100) || x'ff' || substr(bytes, 102) AS BLOB)", 10},
		"blob missing":   {"DELETE FROM blobs", 10},
		"erased quietly": {"UPDATE events SET data = NULL, packed = NULL WHERE position = 9", 0}, // the chain holds; the event that says so is missing
	} {
		path := filepath.Join(t.TempDir(), "log.db")
		s := owner(t, engine(t, path), eventstore.Options{})
		for i := range 12 {
			ev := eventstore.Event{Type: "a.b", Data: []byte(`{"x":"z"}`)}
			if i == 8 || i == 9 {
				ev.Attachments = []eventstore.Attachment{{Name: "v", Bytes: make([]byte, 10+70_000*(i-8))}}
			}
			if _, err := s.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{{Log: "l", Stream: fmt.Sprint("s", i),
				Meta: eventstore.Metadata{Actor: "usr_1"}, Events: []eventstore.Event{ev}}}}); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()
		e := engine(t, path)
		if _, err := e.w.exec(c.sql); err != nil {
			t.Fatal(name, err)
		}
		s = owner(t, e, eventstore.Options{})
		rep, err := eventstore.Verify(context.Background(), s, "l")
		if err != nil || rep.Bad != c.at {
			t.Errorf("%s: found at %d (%s), changed at %d: %v", name, rep.Bad, rep.Reason, c.at, err)
		}
		s.Close()
	}
}
