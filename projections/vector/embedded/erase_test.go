package embedded

import (
	"bytes"
	"context"
	"os"
	"testing"

	"varve/eventstore"
	"varve/projections/vector"
	"varve/projections/vector/vectortest"
)

// writeSecret adds a document to be erased: noSecret finds what files hold of it.
func writeSecret(f *vectortest.Feed) eventstore.Record {
	return f.Write("log-a", "doc_secret", "col_a", `{"n":1,"name":"xyzzy-secret"}`, vectortest.Vector(4, 4), vectortest.Text("xyzzyterm"))
}

func noSecret(t *testing.T, dir string) {
	t.Helper()
	for _, file := range segmentFiles(t, dir) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("xyzzy")) {
			t.Errorf("%s still has the erased text", file)
		}
	}
}

// Erasing from the index gives what applying erased records gives, and leaves no
// trace in files.
func TestErase(t *testing.T) {
	f := churn(120)
	secret := writeSecret(f)
	f.Write("log-a", "doc_secret", "col_a", `{"n":1}`)
	erased := map[uint64]bool{secret.Position: true, 2: true, 50: true}
	blank := &vectortest.Feed{}
	for _, r := range f.Records {
		if erased[r.Position] {
			r.Data, r.Attachments, r.Erased = nil, nil, true
		}
		blank.Records = append(blank.Records, r)
	}
	want := open(t, t.TempDir(), Options{})
	apply(t, want, blank)
	for _, opts := range []Options{{}, {HeadRows: 1}, {HeadRows: 16, NoMerge: true}} {
		dir := t.TempDir()
		x := open(t, dir, opts)
		apply(t, x, f)
		for range 2 {
			if err := x.Erase(context.Background(), "log-a", secret.Position, 2, 50); err != nil {
				t.Fatal(err)
			}
		}
		if err := x.Flush(); err != nil {
			t.Fatal(err)
		}
		noSecret(t, dir)
		for position := uint64(0); position <= f.Position("log-a"); position += 3 {
			a, err := x.View(context.Background(), "log-a", position)
			if err != nil {
				t.Fatal(err)
			}
			b, err := want.View(context.Background(), "log-a", position)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := answers(t, a), answers(t, b); got != want {
				t.Fatalf("at %d:\n%s\nwant\n%s", position, got, want)
			}
			a.Close()
			b.Close()
		}
	}
}

func TestDrop(t *testing.T) {
	dir := t.TempDir()
	x := open(t, dir, Options{})
	apply(t, x, churn(50))
	if err := x.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := x.Drop("log-a"); err != nil {
		t.Fatal(err)
	}
	if files := segmentFiles(t, dir); len(files) != 0 || len(x.Logs()) != 0 {
		t.Errorf("left: %v, %v", files, x.Logs())
	}
	if err := x.Drop("log-a"); err != nil {
		t.Error(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if x = open(t, dir, Options{}); x.Damage() != nil || x.Applied(0) == 0 {
		t.Errorf("after opening: %v, applied %d", x.Damage(), x.Applied(0))
	}
}

func TestClear(t *testing.T) {
	dir := t.TempDir()
	x := open(t, dir, Options{HeadRows: 8})
	f := churn(50)
	apply(t, x, f)
	v, err := x.View(context.Background(), "log-a", f.Position("log-a"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	before := answers(t, v)
	if err := x.Clear(); err != nil {
		t.Fatal(err)
	}
	if x.Applied(0) != 0 || len(segmentFiles(t, dir)) != 0 {
		t.Errorf("applied %d, files %v", x.Applied(0), segmentFiles(t, dir))
	}
	apply(t, x, f)
	again, err := x.View(context.Background(), "log-a", f.Position("log-a"))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for name, v := range map[string]vector.View{"the old view": v, "the index filled anew": again} {
		if got := answers(t, v); got != before {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, before)
		}
	}
}
