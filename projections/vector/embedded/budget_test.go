package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"varve/eventstore"
)

// many gives the churn of one log as that of n logs, one after the other in each page.
func many(f []eventstore.Record, n int) (records []eventstore.Record, logs []eventstore.LogID) {
	for i := range n {
		logs = append(logs, eventstore.LogID(fmt.Sprint("log-", i)))
	}
	for len(f) > 0 {
		k := min(len(f), 20)
		for _, log := range logs {
			records = append(records, renamed(f[:k], log)...)
		}
		f = f[k:]
	}
	for i := range records {
		records[i].Feed = uint64(i + 1)
	}
	return records, logs
}

// Logs leave memory by least use, and none that is in use.
func TestLeastUsedLeavesMemory(t *testing.T) {
	records, logs := many(churn(400).Records, 6)
	h := &history{}
	h.add(records...)
	free := openOnDemand(t, t.TempDir(), h, Options{HeadRows: 64, NoMerge: true})
	want := answers(t, see(t, free, logs[0], 400))
	use := func(x *Index, log eventstore.LogID) {
		v, err := x.View(context.Background(), log, 400)
		if err != nil {
			t.Fatal(err)
		}
		v.Close()
		x.settle()
	}
	check := func(x *Index, want ...eventstore.LogID) {
		t.Helper()
		if got := x.Logs(); !slices.Equal(got, want) {
			t.Errorf("held are %v, want %v", got, want)
		}
	}
	forThree := free.held() * 7 / 2 * 4 / 3 // a quarter is for the cache
	x := openOnDemand(t, t.TempDir(), h, Options{HeadRows: 64, NoMerge: true, Memory: forThree})
	inUse := see(t, x, logs[0], 400)
	for _, i := range []int{1, 2, 3, 4, 5, 3} {
		use(x, logs[i])
	}
	check(x, logs[0], logs[3], logs[5])
	if s := x.Stats(); s.Memory > forThree || s.UnloadError != nil || len(s.Logs) != 6 {
		t.Errorf("%d bytes of %d, %v, %d logs", s.Memory, forThree, s.UnloadError, len(s.Logs))
	}
	if got := answers(t, inUse); got != want {
		t.Errorf("the view in use:\n%s\nwant\n%s", got, want)
	}

	// One in use stays where there is room for nothing, until its view is closed.
	x = openOnDemand(t, t.TempDir(), h, Options{Memory: 1})
	inUse = see(t, x, logs[0], 400)
	use(x, logs[1])
	use(x, logs[2])
	check(x, logs[0], logs[2])
	if got := answers(t, inUse); got != want {
		t.Errorf("the view in use:\n%s\nwant\n%s", got, want)
	}
	inUse.Close()
	x.work.Wait()
	check(x, logs[0]) // the other one was used before that
}

// settle waits until everything is within the memory that can be.
func (x *Index) settle() {
	x.work.Wait()
	x.apply.Lock()
	defer x.apply.Unlock()
	_, _ = x.shrink()
}

// A budget makes heads segments early, in an index of all logs too, and changes no answer.
func TestBudgetSealsHeads(t *testing.T) {
	records, logs := many(churn(300).Records, 4)
	free := open(t, t.TempDir(), Options{})
	tight := open(t, t.TempDir(), Options{Memory: 400_000})
	feed(t, free, records)
	feed(t, tight, records)
	if tight.held() > 400_000 || free.held() <= 400_000 {
		t.Errorf("%d bytes of 400000, without a budget %d", tight.held(), free.held())
	}
	for _, log := range logs {
		if got, want := answers(t, see(t, tight, log, 300)), answers(t, see(t, free, log, 300)); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", log, got, want)
		}
	}
}

// What cannot be saved when a log leaves memory is read again from the log.
func TestLeavesMemoryOnAFullDisk(t *testing.T) {
	records, logs := many(churn(400).Records, 2)
	h := &history{}
	h.add(records...)
	x := openOnDemand(t, t.TempDir(), h, Options{Memory: 1})
	full := errors.New("no space left")
	x.opts.sync = func(*os.File) error { return full }
	want := answers(t, see(t, followed(t, records), logs[0], 400))
	for _, log := range append(logs, logs...) {
		v, err := x.View(context.Background(), log, 400)
		if err != nil {
			t.Fatal(err)
		}
		if got := answers(t, v); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", log, got, want)
		}
		v.Close()
		x.settle()
		if got := x.Logs(); !slices.Equal(got, []eventstore.LogID{log}) {
			t.Errorf("held are %v, want %s", got, log)
		}
	}
	if s := x.Stats(); !errors.Is(s.UnloadError, full) {
		t.Errorf("%v, want that the disk is full", s.UnloadError)
	}
}

// Queries, loads, drops, merges, applies and erasures go on at the same time.
func TestEverythingTogether(t *testing.T) {
	records, logs := many(churn(400).Records, 5)
	h := &history{}
	x := openOnDemand(t, t.TempDir(), h, Options{HeadRows: 16, Memory: 60_000})
	var applied [5]atomic.Uint64
	type seen struct {
		log      int
		position uint64
		answer   string
	}
	var mu sync.Mutex
	var all []seen
	var done atomic.Bool
	var readers sync.WaitGroup
	for r := range uint64(4) {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(r, 7))
			for !done.Load() {
				i := random.IntN(len(logs))
				position := applied[i].Load()
				position -= position * random.Uint64N(4) / 4
				ctx, leave := context.WithCancel(context.Background())
				if random.IntN(4) == 0 {
					go leave() // impatient
				}
				v, err := x.View(ctx, logs[i], position)
				if err == nil {
					first, second := answers(t, v), answers(t, v)
					v.Close()
					if first != second {
						t.Errorf("a view of %s at %d changed:\n%s\n%s", logs[i], position, first, second)
					}
					mu.Lock()
					all = append(all, seen{i, position, first})
					mu.Unlock()
				} else if !errors.Is(err, context.Canceled) {
					t.Errorf("%s at %d: %v", logs[i], position, err)
				}
				leave()
			}
		})
	}
	random := rand.New(rand.NewPCG(9, 9))
	for from := 0; from < len(records); {
		page := records[from:min(len(records), from+1+random.IntN(60))]
		from += len(page)
		h.add(page...)
		if err := x.Apply(context.Background(), 0, page); err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			applied[slices.Index(logs, r.Log)].Store(r.Position)
		}
		var err error
		switch random.IntN(8) {
		case 0:
			err = x.Flush()
		case 1:
			err = x.Merge(context.Background())
		case 2:
			err = x.Drop(logs[random.IntN(len(logs))])
		case 3:
			err = x.Erase(context.Background(), logs[random.IntN(len(logs))], 100_000)
		case 4:
			unloadAll(x)
		case 5:
			x.Stats()
			x.Trim()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	done.Store(true)
	readers.Wait()
	whole := followed(t, records)
	for _, s := range all {
		v, err := whole.View(context.Background(), logs[s.log], s.position)
		if err != nil {
			t.Fatal(err)
		}
		if want := answers(t, v); s.answer != want {
			t.Fatalf("%s at %d: a reader saw\n%s\nwant\n%s", logs[s.log], s.position, s.answer, want)
		}
		v.Close()
	}
	x.work.Wait()
	if s := x.Stats(); len(all) == 0 || s.MergeError != nil || s.UnloadError != nil {
		t.Errorf("%d answers, %v, %v", len(all), s.MergeError, s.UnloadError)
	}
	for _, l := range x.all() {
		if n := l.users.Load(); n != 0 {
			t.Errorf("%d users of %s, and nobody is there", n, l.id)
		}
	}
	if unloadAll(x); x.held() != 0 || x.headBytes.Load() != 0 || x.loadBytes.Load() != 0 {
		t.Errorf("%d bytes are held of nothing", x.held())
	}
}
