package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/blob"
	"varve/projections/vector/vectortest"
)

// shelf gives a Shelf over a blob store in a folder.
func shelf(t testing.TB) *Shelf {
	t.Helper()
	blobs, err := blob.Open(context.Background(), t.TempDir(), blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	var mu sync.Mutex
	newest := map[eventstore.LogID]string{}
	return &Shelf{
		Blobs: blobs,
		Scope: func(eventstore.LogID) string { return "org_a" },
		Point: func(_ context.Context, log eventstore.LogID, _ uint64, digest string) error {
			mu.Lock()
			defer mu.Unlock()
			newest[log] = digest
			return nil
		},
		Newest: func(_ context.Context, log eventstore.LogID) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			return newest[log], nil
		},
	}
}

func publish(t testing.TB, x *Index, log eventstore.LogID, to Publisher) Published {
	t.Helper()
	p, err := x.Publish(context.Background(), log, to)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What one process published another one loads, and reads from the log only what that
// has more.
func TestPublished(t *testing.T) {
	f, h, s := churn(1500), &history{}, shelf(t)
	first := f.Records[:1000]
	h.add(first...)
	projector := open(t, t.TempDir(), Options{HeadRows: 64, NoMerge: true})
	feed(t, projector, first)
	p := publish(t, projector, "log-a", s)
	if again := publish(t, projector, "log-a", s); p.Put == 0 || p.Bytes == 0 || len(p.Segments) == 0 || again.Put != 0 || again.Position < 900 {
		t.Errorf("published %+v, and again %+v", p, again)
	}
	feed(t, projector, f.Records[1000:])
	h.add(f.Records...)
	api := openOnDemand(t, t.TempDir(), h, Options{Published: s})
	for _, position := range []uint64{0, 500, 1000, 1500} {
		if got, want := answers(t, see(t, api, "log-a", position)), answers(t, see(t, projector, "log-a", position)); got != want {
			t.Fatalf("at %d:\n%s\nwant\n%s", position, got, want)
		}
	}
	if max := len(f.Records) - int(p.Position); h.read > max || api.Stats().PublishedError != nil {
		t.Errorf("%d records were read, want at most %d; %v", h.read, max, api.Stats().PublishedError)
	}
	entry, err := s.Entry(context.Background(), "log-a")
	if err != nil {
		t.Fatal(err)
	}
	if position, digests, err := SegmentsOf("log-a", entry); err != nil || position != p.Position || len(digests) == 0 {
		t.Errorf("the entry goes up to %d with %v: %v", position, digests, err)
	}
	// An index on demand publishes what it loaded, and what is not there is not published.
	if p := publish(t, api, "log-a", s); p.Position < 1200 {
		t.Errorf("published %+v", p)
	}
	if p := publish(t, api, "log-none", s); p.Position != 0 {
		t.Errorf("published %+v of no log", p)
	}
}

// What is published late is fetched only where it saves something.
func TestPublishedIsWorthFetching(t *testing.T) {
	f, h, s, dir := churn(2*worthFetching), &history{}, shelf(t), t.TempDir()
	h.add(f.Records[:worthFetching]...)
	api := openOnDemand(t, dir, h, Options{Published: s})
	see(t, api, "log-a", worthFetching).Close()
	if err := errors.Join(api.Flush(), api.Close()); err != nil {
		t.Fatal(err)
	}
	h.add(f.Records...)
	publish(t, followed(t, f.Records[:worthFetching+1000]), "log-a", s)
	h.read = 0
	api = openOnDemand(t, dir, h, Options{Published: s})
	if got, want := answers(t, see(t, api, "log-a", 2*worthFetching)), answers(t, see(t, followed(t, f.Records), "log-a", 2*worthFetching)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if h.read < worthFetching-worthSealing {
		t.Errorf("%d records were read: what was published was fetched to save 1000", h.read)
	}
}

// bad gives another source's entries and segments, changed.
type bad struct {
	Source
	entry   func([]byte) ([]byte, error)
	segment func([]byte) ([]byte, error)
}

func (b bad) Entry(ctx context.Context, log eventstore.LogID) ([]byte, error) {
	entry, err := b.Source.Entry(ctx, log)
	if err == nil && b.entry != nil {
		return b.entry(entry)
	}
	return entry, err
}

func (b bad) Segment(ctx context.Context, log eventstore.LogID, digest string) (io.ReadCloser, error) {
	r, err := b.Source.Segment(ctx, log, digest)
	if err != nil || b.segment == nil {
		return r, err
	}
	data, err := io.ReadAll(r)
	if err == nil {
		data, err = b.segment(data)
	}
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// resealed changes what an entry says and gives it a checksum that fits.
func resealed(change func(*manifestLog)) func([]byte) ([]byte, error) {
	return func(entry []byte) ([]byte, error) {
		m, err := decodeManifest(entry)
		if err != nil {
			return nil, err
		}
		change(&m.Logs[0])
		return m.encode()
	}
}

// Whatever is wrong with what was published, the answer is right, the reason is shown,
// and nothing is left of it.
func TestPublishedIsDamaged(t *testing.T) {
	f, h, s := churn(700), &history{}, shelf(t)
	h.add(f.Records...)
	projector := open(t, t.TempDir(), Options{HeadRows: 64})
	feed(t, projector, f.Records)
	publish(t, projector, "log-a", s)
	want := answers(t, see(t, projector, "log-a", 700))
	gone := errors.New("the bucket is gone")
	for name, b := range map[string]bad{
		"no entry can be had":    {entry: func([]byte) ([]byte, error) { return nil, gone }},
		"an entry cut off":       {entry: func(b []byte) ([]byte, error) { return b[:len(b)-9], nil }},
		"an entry of nothing":    {entry: func([]byte) ([]byte, error) { return []byte{}, nil }},
		"another log's":          {entry: resealed(func(e *manifestLog) { e.ID = "log-b" })},
		"ahead of the log":       {entry: resealed(func(e *manifestLog) { e.Applied = 7000 })},
		"less than its segments": {entry: resealed(func(e *manifestLog) { e.Applied = 600 })},
		"a path for a digest":    {entry: resealed(func(e *manifestLog) { e.Segments[0].Digest = "../../manifest" })},
		"a capital digest":       {entry: resealed(func(e *manifestLog) { e.Segments[0].Digest = strings.ToUpper(e.Segments[0].Digest) })},
		"ends of other rows":     {entry: resealed(func(e *manifestLog) { e.Segments[0].Ends = e.Segments[1].Ends + "AAAA" })},
		"a deletion to come":     {entry: resealed(func(e *manifestLog) { e.Deleted = map[string][]deletion{"col_a": {{9, 9000}}} })},
		"no segment can be had":  {segment: func([]byte) ([]byte, error) { return nil, gone }},
		"another segment": {segment: func([]byte) ([]byte, error) {
			return os.ReadFile(segmentFiles(t, projector.dir)[0])
		}},
		"ends to come": {entry: resealed(func(e *manifestLog) {
			e.Segments[0].Ends = base64.StdEncoding.EncodeToString(binary.AppendUvarint([]byte{0}, 9000))
		})},
		"a segment cut off":         {segment: func(b []byte) ([]byte, error) { return b[:len(b)/2], nil }},
		"a segment with other bits": {segment: func(b []byte) ([]byte, error) { b[len(b)/2] ^= 4; return b, nil }},
	} {
		t.Run(name, func(t *testing.T) {
			b.Source = s
			dir := t.TempDir()
			x := openOnDemand(t, dir, h, Options{Published: b})
			if got := answers(t, see(t, x, "log-a", 700)); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if err := x.Stats().PublishedError; err == nil {
				t.Error("nobody says that something is wrong")
			}
			if err := x.Flush(); err != nil {
				t.Fatal(err)
			}
			if files, n := segmentFiles(t, dir), x.Stats().Logs[0].Segments; len(files) != n {
				t.Errorf("%d files for %d segments", len(files), n)
			}
		})
	}
}

// A segment that is whole, fits the entry and is another one is not taken.
func TestPublishedUnderAnotherDigest(t *testing.T) {
	shelves, answer := [2]*Shelf{}, [2]string{}
	var h [2]history
	for i := range shelves {
		f := &vectortest.Feed{}
		f.SaveCollection("log-a", "col_a")
		for n := range 400 {
			f.Write("log-a", fmt.Sprintf("doc_%03d", n), "col_a", `{"n":1}`, vectortest.Vector(1, float32(n*(i+1)%7)))
		}
		h[i].add(f.Records...)
		shelves[i] = shelf(t)
		x := followed(t, f.Records)
		publish(t, x, "log-a", shelves[i])
		answer[i] = answers(t, see(t, x, "log-a", 401))
	}
	_, digests, err := SegmentsOf("log-a", first(shelves[1].Entry(context.Background(), "log-a")))
	if err != nil || answer[0] == answer[1] {
		t.Fatalf("segments %v: %v", digests, err)
	}
	x := openOnDemand(t, t.TempDir(), &h[0], Options{Published: bad{Source: shelves[0], segment: func([]byte) ([]byte, error) {
		return shelves[1].Blobs.Read(context.Background(), "org_a", blobDigest+digests[0])
	}}})
	if got := answers(t, see(t, x, "log-a", 401)); got != answer[0] || x.Stats().PublishedError == nil {
		t.Errorf("%v:\n%s\nwant\n%s", x.Stats().PublishedError, got, answer[0])
	}
}

func first[T any](v T, _ error) T { return v }

// erasing is a Publisher under which records are erased before the entry is put.
type erasing struct {
	*Shelf
	erase func()
}

func (e erasing) PutSegment(ctx context.Context, log eventstore.LogID, digest string, size int64, r io.Reader) error {
	if e.erase != nil {
		e.erase()
	}
	return e.Shelf.PutSegment(ctx, log, digest, size, r)
}

func TestPublishBesideAnErasure(t *testing.T) {
	f, s := churn(700), shelf(t)
	x := open(t, t.TempDir(), Options{HeadRows: 64, NoMerge: true})
	feed(t, x, f.Records)
	var once sync.Once
	_, err := x.Publish(context.Background(), "log-a", erasing{s, func() {
		once.Do(func() {
			if err := x.Erase(context.Background(), "log-a", 5); err != nil {
				t.Error(err)
			}
		})
	}})
	if entry, e := s.Entry(context.Background(), "log-a"); !errors.Is(err, errErased) || entry != nil || e != nil {
		t.Errorf("published %d bytes: %v, %v", len(entry), err, e)
	}
	if p := publish(t, x, "log-a", s); p.Position < 400 {
		t.Errorf("published %+v", p)
	}
	sick := errors.New("no space left")
	if _, err := x.Publish(context.Background(), "log-a", erasing{&Shelf{Blobs: s.Blobs, Scope: s.Scope, Point: func(context.Context, eventstore.LogID, uint64, string) error { return sick }}, nil}); !errors.Is(err, sick) {
		t.Errorf("an entry that cannot be put: %v", err)
	}
	if _, err := x.Publish(context.Background(), "log-none", s); err != nil {
		t.Errorf("a log that is not there: %v", err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Publish(context.Background(), "log-a", s); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("a closed index publishes: %v", err)
	}
}

// Entries come from elsewhere: whatever they say, loading works.
func FuzzEntry(f *testing.F) {
	sealed := func(text []byte) []byte {
		sum := sha256.Sum256(text)
		return slices.Concat([]byte(hex.EncodeToString(sum[:])), []byte("\n"), text)
	}
	records := churn(300)
	projector := open(f, f.TempDir(), Options{HeadRows: 64})
	feed(f, projector, records.Records)
	s := shelf(f)
	publish(f, projector, "log-a", s)
	entry, err := s.Entry(context.Background(), "log-a")
	if err != nil {
		f.Fatal(err)
	}
	_, text, _ := bytes.Cut(entry, []byte("\n"))
	f.Add(text)
	m, _ := decodeManifest(entry)
	m.Logs[0].Segments = m.Logs[0].Segments[:1]
	less, _ := json.Marshal(m)
	f.Add(less)
	f.Add([]byte(`{"format":2,"logs":[{"id":"log-a","applied":3}]}`))
	h := &history{}
	h.add(records.Records...)
	f.Fuzz(func(t *testing.T, text []byte) {
		x := openOnDemand(t, t.TempDir(), h, Options{Published: bad{s, func([]byte) ([]byte, error) { return sealed(text), nil }, nil}})
		v, err := x.View(context.Background(), "log-a", 300)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		answers(t, v)
	})
}
