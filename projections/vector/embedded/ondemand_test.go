package embedded

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"varve/domain"
	"varve/eventstore"
	"varve/projections/vector"
)

// What is not asked for is not held, and is as it would be when it is asked for.
func TestLoadsWhatIsAskedFor(t *testing.T) {
	f, h, dir := churn(300), &history{}, t.TempDir()
	h.add(f.Records...)
	h.add(renamed(f.Records, "log-b")...)
	want := open(t, t.TempDir(), Options{})
	apply(t, want, f)
	x := openOnDemand(t, dir, h, Options{HeadRows: 64})
	feed(t, x, f.Records)
	if s := x.Stats(); len(s.Logs) != 0 || s.Memory != 0 || x.Applied(0) != uint64(len(f.Records)) || x.Position("log-a") != f.Position("log-a") {
		t.Errorf("before the first view: %+v, applied %d, position %d", s, x.Applied(0), x.Position("log-a"))
	}
	if h.read != 0 {
		t.Errorf("%d records were read for nobody", h.read)
	}
	if _, err := x.View(context.Background(), "log-a", f.Position("log-a")+1); domain.CodeOf(err) != domain.CodeUnavailable || len(x.Logs()) != 0 {
		t.Errorf("a view ahead of what was applied: %v, and %v are loaded", err, x.Logs())
	}
	for _, log := range []eventstore.LogID{"log-a", "log-b"} { // of log-b nothing was applied
		for position := uint64(0); position <= f.Position("log-a"); position += 20 {
			if got, want := answers(t, see(t, x, log, position)), answers(t, see(t, want, "log-a", position)); got != want {
				t.Fatalf("%s at %d:\n%s\nwant\n%s", log, position, got, want)
			}
		}
	}
	if h.read != 2*len(f.Records) {
		t.Errorf("%d records were read of %d", h.read, 2*len(f.Records))
	}
	s, w := x.Stats(), want.Stats()
	if one := s.Logs[0]; !one.Loaded || one.Documents != w.Logs[0].Documents || one.Rows != w.Logs[0].Rows || one.Memory == 0 || one.Bytes == 0 || one.LastUse.IsZero() || one.Documents == one.Rows {
		t.Errorf("a loaded log: %+v, want as %+v", one, w.Logs[0])
	}
	if n := x.Position("log-none"); n != 0 || len(x.away) != 0 {
		t.Errorf("position %d of no log, and %d are remembered", n, len(x.away))
	}
}

// A log that left memory is read from its segments, and from the log only after them;
// also by the next process.
func TestReadsOnlyTheTail(t *testing.T) {
	f, h, dir := churn(1000), &history{}, t.TempDir()
	h.add(f.Records...)
	x := openOnDemand(t, dir, h, Options{HeadRows: 300})
	v, err := x.View(context.Background(), "log-a", 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := answers(t, v)
	v.Close()
	unloadAll(x)
	s := x.Stats()
	if len(x.Logs()) != 0 || s.Memory != s.CacheBytes || s.CacheBytes != 0 || len(s.Logs) != 1 || s.Logs[0].Loaded || s.Logs[0].Bytes == 0 || s.Logs[0].Documents == 0 {
		t.Errorf("after it left memory: %+v", s)
	}
	for _, again := range []string{"in this process", "in the next", "in the next without its places"} {
		h.read = 0
		if got := answers(t, see(t, x, "log-a", 1000)); got != want {
			t.Fatalf("%s:\n%s\nwant\n%s", again, got, want)
		}
		if h.read >= worthSealing {
			t.Errorf("%s %d records were read again", again, h.read)
		}
		if again == "in the next" {
			if err := os.Remove(filepath.Join(dir, manifestFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		} else if err := x.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		x = openOnDemand(t, dir, h, Options{HeadRows: 300})
	}
}

// A log whose first records come while it is asked whether there are any is there.
func TestBeginsWhileItIsLoaded(t *testing.T) {
	f, h := churn(40), &history{}
	x := openOnDemand(t, t.TempDir(), h, Options{})
	head := x.opts.Head
	x.opts.Head = func(ctx context.Context, log eventstore.LogID) (uint64, error) {
		n, err := head(ctx, log)
		if n == 0 { // as of this moment
			h.add(f.Records...)
			feed(t, x, f.Records)
		}
		return n, err
	}
	see(t, x, "log-a", 0)
	want := open(t, t.TempDir(), Options{})
	apply(t, want, f)
	if got, want := answers(t, see(t, x, "log-a", 40)), answers(t, see(t, want, "log-a", 40)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Many waiters share a load. One that goes away leaves the others theirs, and neither
// Apply nor another log waits.
func TestWaitersShareALoad(t *testing.T) {
	f, h := churn(600), &history{}
	first := f.Records[:500]
	h.add(first...)
	h.add(renamed(first, "log-b")...)
	begun, open := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.gate = func(log eventstore.LogID, position uint64) error {
		if log == "log-a" && position == 100 {
			once.Do(func() { close(begun) })
			<-open
		}
		return nil
	}
	x := openOnDemand(t, t.TempDir(), h, Options{HeadRows: 64})
	gone, leave := context.WithCancel(context.Background())
	left := make(chan error, 1)
	go func() {
		_, err := x.View(gone, "log-a", 500)
		left <- err
	}()
	<-begun
	var waiters sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for range 8 {
		waiters.Go(func() {
			v, err := x.View(context.Background(), "log-a", 500)
			if err != nil {
				t.Error(err)
				return
			}
			defer v.Close()
			mu.Lock()
			defer mu.Unlock()
			got[answers(t, v)]++
		})
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who went away: %v", err)
	}
	want := answers(t, see(t, x, "log-b", 500)) // another log, while log-a waits
	h.add(f.Records...)
	feed(t, x, f.Records) // Apply, too
	if s := x.Stats(); x.Position("log-a") != f.Position("log-a") || !s.Logs[0].Loading || s.Logs[0].Loaded {
		t.Errorf("while it is loaded: position %d, %+v", x.Position("log-a"), s.Logs[0])
	}
	close(open)
	waiters.Wait()
	if len(got) != 1 || got[want] != 8 {
		t.Errorf("the waiters saw %v, want %s", got, want)
	}
	if h.read != 1000 {
		t.Errorf("%d records were read, want 1000: one load each, and what was applied meanwhile from memory", h.read)
	}
	all := openOnDemand(t, t.TempDir(), h, Options{})
	if got, want := answers(t, see(t, x, "log-a", f.Position("log-a"))), answers(t, see(t, all, "log-a", f.Position("log-a"))); got != want {
		t.Errorf("what was applied meanwhile:\n%s\nwant\n%s", got, want)
	}
	for _, l := range x.all() {
		if n := l.users.Load(); l.id == "log-a" && n != 1 {
			t.Errorf("%d users of %s", n, l.id)
		}
	}
}

// More was applied during a load than is kept for it: the log is read again.
func TestLoadOvertaken(t *testing.T) {
	f, h := churn(maxPending+900), &history{}
	h.add(f.Records[:100]...)
	begun, open := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.gate = func(_ eventstore.LogID, position uint64) error {
		if position == 100 {
			once.Do(func() { close(begun); <-open })
		}
		return nil
	}
	x := openOnDemand(t, t.TempDir(), h, Options{})
	done := make(chan vector.View)
	go func() {
		v, err := x.View(context.Background(), "log-a", 100)
		if err != nil {
			t.Error(err)
		}
		done <- v
	}()
	<-begun
	h.add(f.Records...)
	feed(t, x, f.Records)
	close(open)
	(<-done).Close()
	want := filled(t, f)
	for _, position := range []uint64{100, 2500, f.Position("log-a")} {
		if got, want := answers(t, see(t, x, "log-a", position)), answers(t, see(t, want, "log-a", position)); got != want {
			t.Errorf("at %d:\n%s\nwant\n%s", position, got, want)
		}
	}
}

// A load that fails says so to all who wait, keeps what it had, and is tried again.
func TestLoadFails(t *testing.T) {
	f, h := churn(500), &history{}
	h.add(f.Records...)
	tired := errors.New("the disk is tired")
	h.gate = func(_ eventstore.LogID, position uint64) error {
		if position == 300 {
			return tired
		}
		return nil
	}
	x := openOnDemand(t, t.TempDir(), h, Options{HeadRows: 64})
	for range 2 {
		_, err := x.View(context.Background(), "log-a", 500)
		var e *domain.Error
		if !errors.As(err, &e) || e.Code != domain.CodeUnavailable || e.RetryAfter == 0 || !errors.Is(err, tired) {
			t.Fatalf("a load that fails: %v", err)
		}
	}
	if n := x.held(); n != 0 {
		t.Errorf("%d bytes are held of a log that is not", n)
	}
	h.gate = nil
	h.mu.Lock()
	h.read = 0
	h.mu.Unlock()
	if got, want := answers(t, see(t, x, "log-a", 500)), answers(t, see(t, filled(t, f), "log-a", 500)); got != want {
		t.Errorf("after it was tried again:\n%s\nwant\n%s", got, want)
	}
	if h.read > 400 {
		t.Errorf("%d records were read again", h.read)
	}
	short := openOnDemand(t, t.TempDir(), h, Options{})
	short.opts.Head = func(context.Context, eventstore.LogID) (uint64, error) { return 10_000, nil }
	if _, err := short.View(context.Background(), "log-a", 500); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("a log that ends early: %v", err)
	}
	short.opts.Head = func(context.Context, eventstore.LogID) (uint64, error) { return 0, tired }
	if _, err := short.View(context.Background(), "log-a", 500); !errors.Is(err, tired) {
		t.Errorf("a head that cannot be asked for: %v", err)
	}
}

// Closing ends loads; who waits is told.
func TestCloseEndsLoads(t *testing.T) {
	f, h := churn(100), &history{}
	h.add(f.Records...)
	begun := make(chan struct{})
	x := openOnDemand(t, t.TempDir(), h, Options{})
	x.opts.Prefix = func(ctx context.Context, _ eventstore.LogID, _, _ uint64) iter.Seq2[eventstore.Record, error] {
		return func(yield func(eventstore.Record, error) bool) {
			close(begun)
			<-ctx.Done()
			yield(eventstore.Record{}, ctx.Err())
		}
	}
	told := make(chan error)
	go func() {
		_, err := x.View(context.Background(), "log-a", 50)
		told <- err
	}()
	<-begun
	go x.Close()
	if err := <-told; domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("who waited: %v", err)
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	if _, err := x.View(context.Background(), "log-a", 50); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("a closed index: %v", err)
	}
}

// What a follower left out of a log that is held is read when the log is asked for again.
func TestGapUnloads(t *testing.T) {
	f, h := churn(90), &history{}
	h.add(f.Records...)
	x := openOnDemand(t, t.TempDir(), h, Options{HeadRows: 8})
	h.of["log-a"] = f.Records[:20]
	feed(t, x, f.Records[:20])
	old := see(t, x, "log-a", 20)
	before := answers(t, old)
	h.of["log-a"] = f.Records
	page := slices.Concat(f.Records[20:30], renamed(f.Records[:1], "log-b"), f.Records[40:])
	if err := x.Apply(context.Background(), 0, page); err != nil {
		t.Fatal(err)
	}
	if len(x.Logs()) != 0 {
		t.Error("the log is held without what is missing")
	}
	if got, want := answers(t, see(t, x, "log-a", 90)), answers(t, see(t, filled(t, f), "log-a", 90)); got != want {
		t.Errorf("after a gap:\n%s\nwant\n%s", got, want)
	}
	if after := answers(t, old); after != before {
		t.Errorf("the old view changed:\n%s\nwas\n%s", after, before)
	}
}

// A process that comes new starts at the store's head.
func TestSkip(t *testing.T) {
	f, h := churn(200), &history{}
	h.add(f.Records[:150]...)
	x := openOnDemand(t, t.TempDir(), h, Options{})
	if err := x.Skip(0, 150); err != nil || x.Applied(0) != 150 {
		t.Fatalf("applied %d: %v", x.Applied(0), err)
	}
	v := see(t, x, "log-a", 150)
	h.add(f.Records...)
	feed(t, x, f.Records[150:])
	if got, want := answers(t, see(t, x, "log-a", f.Position("log-a"))), answers(t, see(t, filled(t, f), "log-a", f.Position("log-a"))); got != want {
		t.Errorf("after skipping:\n%s\nwant\n%s", got, want)
	}
	v.Close()
	if x.Skip(0, 500) == nil {
		t.Error("records are skipped of a log that is held")
	}
	if open(t, t.TempDir(), Options{}).Skip(0, 1) == nil {
		t.Error("an index of all logs skips records")
	}
	if _, err := Open(t.TempDir(), Options{OnDemand: true}); err == nil {
		t.Error("an index on demand opens without anything to load from")
	}
}

// Folders change their mode: what was an index of all logs serves one on demand, and
// the other way round it is filled anew.
func TestModesShareAFolder(t *testing.T) {
	f, h, dir := churn(400), &history{}, t.TempDir()
	h.add(f.Records...)
	x := open(t, dir, Options{HeadRows: 64})
	apply(t, x, f)
	want := answers(t, see(t, x, "log-a", 400))
	if err := errors.Join(x.Flush(), x.Close()); err != nil {
		t.Fatal(err)
	}
	x = openOnDemand(t, dir, h, Options{})
	if got := answers(t, see(t, x, "log-a", 400)); got != want || h.read != 0 || x.Applied(0) != uint64(len(f.Records)) {
		t.Errorf("on demand, %d records read, applied %d:\n%s\nwant\n%s", h.read, x.Applied(0), got, want)
	}
	if err := errors.Join(x.Flush(), x.Close()); err != nil {
		t.Fatal(err)
	}
	x = open(t, dir, Options{})
	if x.Damage() == nil || x.Applied(0) != 0 || len(segmentFiles(t, dir)) != 0 {
		t.Errorf("of all logs: %v, applied %d, files %v", x.Damage(), x.Applied(0), segmentFiles(t, dir))
	}
}

// Without the places of shards the logs in the folder still serve.
func TestPlacesAreDamaged(t *testing.T) {
	f, h, dir := churn(400), &history{}, t.TempDir()
	h.add(f.Records...)
	x := openOnDemand(t, dir, h, Options{})
	want := answers(t, see(t, x, "log-a", 400))
	feed(t, x, f.Records)
	if err := errors.Join(x.Flush(), x.Close(), os.Truncate(filepath.Join(dir, manifestFile), 40)); err != nil {
		t.Fatal(err)
	}
	h.read = 0
	x = openOnDemand(t, dir, h, Options{})
	if got := answers(t, see(t, x, "log-a", 400)); got != want || h.read != 0 || x.Applied(0) != 0 || x.Damage() == nil {
		t.Errorf("%d records read, applied %d, %v:\n%s\nwant\n%s", h.read, x.Applied(0), x.Damage(), got, want)
	}
}

// A folder that is ahead of the log belongs to another store.
func TestFolderOfAnotherStore(t *testing.T) {
	f, h, dir := churn(400), &history{}, t.TempDir()
	h.add(f.Records...)
	x := openOnDemand(t, dir, h, Options{HeadRows: 64})
	see(t, x, "log-a", 400).Close()
	if err := errors.Join(x.Flush(), x.Close()); err != nil {
		t.Fatal(err)
	}
	h = &history{}
	h.add(churn(100).Records...)
	x = openOnDemand(t, dir, h, Options{})
	if got, want := answers(t, see(t, x, "log-a", 100)), answers(t, see(t, filled(t, churn(100)), "log-a", 100)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
