package embedded

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"varve/domain"
	"varve/eventstore"
	"varve/projections/vector"
	"varve/projections/vector/vectortest"
)

// churn gives a feed of n writes and deletions of 40 documents.
func churn(n int) *vectortest.Feed {
	f := &vectortest.Feed{}
	f.SaveCollection("log-a", "col_a")
	for i := range n {
		id := fmt.Sprintf("doc_%02d", i*i%40)
		if i%9 == 8 {
			f.Delete("log-a", id, "col_a")
			continue
		}
		f.Write("log-a", id, "col_a", fmt.Sprintf(`{"n":%d}`, i%5), vectortest.Vector(1, float32(i%13)), vectortest.Text("word", fmt.Sprint("w", i%7)))
	}
	return f
}

// answers gives everything that a view says, as text.
func answers(t testing.TB, v vector.View) string {
	t.Helper()
	ctx := context.Background()
	out := ""
	for _, n := range []any{nil, 1, 3} {
		var filter *domain.Filter
		if n != nil {
			var err error
			if filter, err = domain.Where("n", domain.OpLte, n); err != nil {
				t.Fatal(err)
			}
		}
		set, err := v.Allow(ctx, nil, filter)
		if err != nil {
			t.Fatal(err)
		}
		dense, err := v.Dense(ctx, set, vectortest.Dense, []float32{1, 3}, 7)
		if err != nil {
			t.Fatal(err)
		}
		sparse, err := v.Sparse(ctx, set, vectortest.Sparse, []domain.TermCount{{Term: "w3", Count: 1}, {Term: "word", Count: 1}}, 7)
		if err != nil {
			t.Fatal(err)
		}
		out += fmt.Sprint(set.Len(), set.All("", 100), dense, sparse, "\n")
	}
	return out
}

// Readers at many positions, while the index is filled, sealed, merged and saved,
// see what a reader sees afterwards.
func TestReadersBesideAWriter(t *testing.T) {
	f := churn(600)
	x := open(t, t.TempDir(), Options{HeadRows: 16, sync: func(*os.File) error { return nil }})
	type seen struct {
		position uint64
		answer   string
	}
	var mu sync.Mutex
	var all []seen
	var done atomic.Bool
	var readers sync.WaitGroup
	for r := range 4 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for i := uint64(0); !done.Load(); i++ {
				newest := x.Position("log-a")
				position := newest - newest*(i%4)/4
				v, err := x.View(context.Background(), "log-a", position)
				if err != nil {
					t.Errorf("reader %d at %d: %v", r, position, err)
					return
				}
				first := answers(t, v)
				second := answers(t, v) // the view stays as it is
				v.Close()
				if first != second {
					t.Errorf("a view at %d changed:\n%s\n%s", position, first, second)
				}
				mu.Lock()
				all = append(all, seen{position, first})
				mu.Unlock()
			}
		}()
	}
	for i := 0; i < len(f.Records); i += 7 {
		if err := x.Apply(context.Background(), 0, f.Records[i:min(i+7, len(f.Records))]); err != nil {
			t.Fatal(err)
		}
		if i%91 == 0 {
			if err := x.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := x.Merge(context.Background()); err != nil {
		t.Fatal(err)
	}
	done.Store(true)
	readers.Wait()
	slices.SortFunc(all, func(a, b seen) int { return int(a.position) - int(b.position) })
	want, at := "", uint64(1<<60)
	for _, s := range all {
		if s.position != at {
			v, err := x.View(context.Background(), "log-a", s.position)
			if err != nil {
				t.Fatal(err)
			}
			want, at = answers(t, v), s.position
			v.Close()
		}
		if s.answer != want {
			t.Fatalf("at %d a reader saw\n%s\nand later it is\n%s", s.position, s.answer, want)
		}
	}
	if len(all) == 0 {
		t.Fatal("nobody read")
	}
}

func TestSegmentsStayFew(t *testing.T) {
	x := open(t, t.TempDir(), Options{HeadRows: 8, NoMerge: true, sync: func(*os.File) error { return nil }})
	f := churn(2000)
	for i := 0; i < len(f.Records); i += 50 {
		if err := x.Apply(context.Background(), 0, f.Records[i:min(i+50, len(f.Records))]); err != nil {
			t.Fatal(err)
		}
		x.mergeLock.Lock()
		if err := x.mergeDue(context.Background()); err != nil {
			t.Fatal(err)
		}
		x.mergeLock.Unlock()
	}
	s := x.Stats()
	if s.HeadBytes != x.headBytes.Load() {
		t.Errorf("heads hold %d bytes, and %d are counted", s.HeadBytes, x.headBytes.Load())
	}
	if n := s.Logs[0].Segments; n > 12 || n == 0 {
		t.Errorf("%d segments for %d rows", n, s.Logs[0].Rows)
	}
	if files := segmentFiles(t, x.dir); len(files) != s.Logs[0].Segments {
		t.Errorf("%d files for %d segments", len(files), s.Logs[0].Segments)
	}
}

// A view outlives merges and the index that made it.
func TestViewOutlivesItsFiles(t *testing.T) {
	x := open(t, t.TempDir(), Options{HeadRows: 8, NoMerge: true})
	f := churn(60)
	apply(t, x, f)
	v, err := x.View(context.Background(), "log-a", x.Position("log-a"))
	if err != nil {
		t.Fatal(err)
	}
	before := answers(t, v)
	x.Trim()
	if after := answers(t, v); after != before {
		t.Errorf("after trimming:\n%s\nbefore:\n%s", after, before)
	}
	if err := x.Merge(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if after := answers(t, v); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	v.Close()
	v.Close()
	if _, err := x.View(context.Background(), "log-a", 1); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("a view of a closed index: %v", err)
	}
	if err := x.Apply(context.Background(), 0, f.Records[:1]); err == nil {
		t.Error("a closed index takes records")
	}
}

// A log that continues another is filled with the records that the feed does not repeat.
func TestPrefixOfABranch(t *testing.T) {
	f := churn(100)
	branch := make([]eventstore.Record, len(f.Records))
	for i, r := range f.Records {
		r.Log, r.Feed = "log-branch", 0
		branch[i] = r
	}
	asked := 0
	dir := t.TempDir()
	opts := Options{HeadRows: 16, Prefix: func(_ context.Context, log eventstore.LogID, after, upTo uint64) iter.Seq2[eventstore.Record, error] {
		asked++
		return func(yield func(eventstore.Record, error) bool) {
			for _, r := range branch[after:upTo] {
				if !yield(r, nil) {
					return
				}
			}
		}
	}}
	x := open(t, dir, opts)
	apply(t, x, f)
	own := branch[80:]
	for i := range own {
		own[i].Feed = uint64(len(f.Records) + i + 1)
	}
	if err := x.Apply(context.Background(), 0, own); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for position := uint64(0); position <= uint64(len(branch)); position += 10 {
			a, err := x.View(context.Background(), "log-a", position)
			if err != nil {
				t.Fatal(err)
			}
			b, err := x.View(context.Background(), "log-branch", position)
			if err != nil {
				t.Fatal(err)
			}
			if answers(t, a) != answers(t, b) {
				t.Errorf("at %d the branch is not as what it continues", position)
			}
			a.Close()
			b.Close()
		}
	}
	check()
	if err := x.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	x = open(t, dir, opts)
	check()
	if asked != 1 {
		t.Errorf("the prefix was read %d times", asked)
	}
}

// What the feed leaves out of a log is read, also when reading fails at first.
func TestGapsAreFilled(t *testing.T) {
	f := churn(60)
	fail := true
	x := open(t, t.TempDir(), Options{HeadRows: 8, Prefix: func(_ context.Context, _ eventstore.LogID, after, upTo uint64) iter.Seq2[eventstore.Record, error] {
		return func(yield func(eventstore.Record, error) bool) {
			for i, r := range f.Records[after:upTo] {
				if fail && i == 9 {
					fail = false
					yield(r, errors.New("the disk is tired"))
					return
				}
				if !yield(r, nil) {
					return
				}
			}
		}
	}})
	page := slices.Concat(f.Records[:10], f.Records[30:40], f.Records[50:])
	if err := x.Apply(context.Background(), 0, page); err == nil {
		t.Fatal("reading failed and nobody said so")
	}
	if err := x.Apply(context.Background(), 0, page); err != nil {
		t.Fatal(err)
	}
	want := open(t, t.TempDir(), Options{})
	apply(t, want, f)
	for position := uint64(0); position <= uint64(len(f.Records)); position += 5 {
		a, err := x.View(context.Background(), "log-a", position)
		if err != nil {
			t.Fatal(err)
		}
		b, err := want.View(context.Background(), "log-a", position)
		if err != nil {
			t.Fatal(err)
		}
		if answers(t, a) != answers(t, b) {
			t.Errorf("at %d something is missing", position)
		}
		a.Close()
		b.Close()
	}
}

// What a manifest names is synced, file and folder, before the manifest is.
func TestSyncs(t *testing.T) {
	var synced []string
	dir := t.TempDir()
	x := open(t, dir, Options{NoMerge: true, sync: func(f *os.File) error {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		kind := "file"
		if info.IsDir() {
			kind = "folder"
		}
		synced = append(synced, kind)
		return f.Sync()
	}})
	apply(t, x, feedOf(3))
	if len(synced) != 0 {
		t.Errorf("applying synced %v", synced)
	}
	if err := x.Flush(); err != nil {
		t.Fatal(err)
	}
	// The folder of the log in the index, the segment, its folder, the manifest, its folder.
	if want := []string{"folder", "file", "folder", "file", "folder"}; !slices.Equal(synced, want) {
		t.Errorf("synced %v, want %v", synced, want)
	}
}

// A record that makes no sense stops nothing and is counted.
func TestUndecodableRecords(t *testing.T) {
	x := open(t, t.TempDir(), Options{})
	f := feedOf(3)
	bad := f.Append("log-a", domain.DocumentStream("doc_a"), "document.written", nil)
	f.Records[len(f.Records)-1].Data, f.Records[len(f.Records)-1].Erased = []byte(`{"document_id":7}`), false
	f.Write("log-a", "doc_z", "col_a", `{}`)
	f.Records[len(f.Records)-1].Attachments = []eventstore.Attachment{{Name: vectortest.Dense, Bytes: []byte{1, 9}}}
	apply(t, x, f)
	if s := x.Stats(); s.Logs[0].Skipped != 2 || s.Logs[0].Applied != bad.Position+1 {
		t.Errorf("%+v: want 2 skipped", s.Logs[0])
	}
	if n := everything(t, x); n != 3 { // doc_b, doc_c, doc_z
		t.Errorf("%d documents, want 3", n)
	}
}
