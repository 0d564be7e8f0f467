// Package storetest is the contract of an event store as tests. Every engine
// must pass all of it; a new rule is a new test here.
package storetest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"varve/eventstore"
)

// Opener opens a new, empty store with these options.
type Opener func(t *testing.T, opts eventstore.Options) eventstore.Owner

// Features is what an engine can do besides.
type Features struct {
	// Reopen closes the store and opens the same data again. Nil: not tested.
	Reopen func(t *testing.T, s eventstore.Owner, opts eventstore.Options) eventstore.Owner
	// Second opens the same data once more, as another process would, while s is
	// open. Nil: not tested.
	Second func(t *testing.T, s eventstore.Owner, opts eventstore.Options) eventstore.Owner
	// Shards is how many shards the opened stores have; at least 2 are wanted.
	Shards int
	// Bytes looks for bytes in everything that the engine keeps, after an
	// erasure. Nil: not tested.
	Bytes func(t *testing.T, s eventstore.Owner, needle []byte) bool
	// Light leaves out the tests that load the engine for seconds.
	Light bool
}

// Run runs the whole suite.
func Run(t *testing.T, open Opener, f Features) {
	for _, kind := range []struct {
		name string
		base int // records in the prefix
	}{{"plain", 0}, {"branch", 7}} {
		t.Run(kind.name, func(t *testing.T) {
			for _, c := range contract {
				if c.needs != nil && !c.needs(f) {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					w := newWorld(t, open, f, kind.base)
					c.run(t, w)
					w.whole(t)
				})
			}
		})
	}
	for _, c := range once {
		if c.needs != nil && !c.needs(f) {
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.run(t, open, f) })
	}
}

type rule struct {
	name  string
	run   func(t *testing.T, w *world)
	needs func(f Features) bool // nil: nothing
}

type single struct {
	name  string
	run   func(t *testing.T, open Opener, f Features)
	needs func(f Features) bool
}

func reopens(f Features) bool   { return f.Reopen != nil }
func sharded(f Features) bool   { return f.Shards > 1 }
func processes(f Features) bool { return f.Second != nil }

// contract holds on plain and on branched logs alike.
var contract = []rule{
	{"AppendGivesDensePositions", appendDense, nil},
	{"DataAreKeptAsWritten", dataKept, nil},
	{"BatchesAreAtomic", batchesAtomic, nil},
	{"SeveralLogsInOneAppend", severalLogs, nil},
	{"CheckOnlyBatches", checkOnly, nil},
	{"ConflictsSayVersions", conflicts, nil},
	{"NamesDifferInCaseOnly", caseNames, nil},
	{"InvalidAppendsAreRefused", invalidAppends, nil},
	{"ReadsPageAndLimit", readPages, nil},
	{"ClosedLogRefuses", closedLog, nil},
	{"AttachmentsSurvive", attachments, nil},
	{"TwoWritersOneWins", twoWriters, nil},
	{"TailSeesEverythingOnce", tailing, nil},
	{"IdempotencyScope", idempotency, nil},
	{"IdempotencyRace", idempotencyRace, nil},
	{"EraseKeepsChainAndFeed", eraseKeeps, nil},
	{"ErasePackedAttachments", erasePacked, nil},
	{"EraseUnderLoad", eraseLoad, nil},
	{"ReopenContinues", reopen, reopens},
	{"VerifyReport", verifyReport, nil},
}

var once = []single{
	{"TimesKeepMicrosecondsAndOrder", times, nil},
	{"CancelledContextLeavesNothing", cancelled, nil},
	{"CancelledInTheQueue", cancelledQueue, nil},
	{"OverloadIsRefused", overload, nil},
	{"GroupWithFailingAppends", groupFails, nil},
	{"IdempotencyExpires", idempotencyExpires, nil},
	{"BranchSeesPrefixOnly", branchIsolation, nil},
	{"BranchOf32Ancestors", ancestors32, nil},
	{"ForkInTheSameAppend", forkAndAppend, nil},
	{"ForkRefusals", forkRefusals, nil},
	{"TruncateCutsTheFeed", truncate, nil},
	{"CopyIsEqual", copyEqual, nil},
	{"CopyResumes", copyResumes, nil},
	{"ImportRefusesWrong", importRefuses, nil},
	{"CheckpointSeesCutTail", checkpoints, nil},
	{"AttachmentsInABlobStore", blobStore, nil},
	{"ShardsAreApart", shardsApart, sharded},
	{"TwoProcesses", twoProcesses, processes},
	{"TwoProcessesStaleMemory", staleMemory, processes},
	{"TwoProcessesForks", twoProcessForks, processes},
	{"CloseFinishes", closeFinishes, nil},
	{"WaitWakes", waitWakes, nil},
	{"Linearizable", linearizable, nil},
	{"Model", model, nil},
}

// world is a store with one log to be tested, which may be a branch.
type world struct {
	s     eventstore.Owner
	open  Opener
	f     Features
	opts  eventstore.Options
	clock *Clock
	log   eventstore.LogID
	base  uint64            // position at which the log under test begins
	have  map[string]uint64 // versions in the prefix
}

// Clock is a clock that a test moves.
type Clock struct{ micros atomic.Int64 }

// NewClock starts at a fixed time that has microseconds.
func NewClock() *Clock {
	c := &Clock{}
	c.micros.Store(1_790_000_000_123_457)
	return c
}

// Now is the time as last set.
func (c *Clock) Now() time.Time { return time.UnixMicro(c.micros.Load()) }

// Add moves the clock, also backwards.
func (c *Clock) Add(d time.Duration) { c.micros.Add(d.Microseconds()) }

// Chance is seeded randomness for a Source; safe for one store at a time.
type Chance struct {
	mu sync.Mutex
	r  *rand.Rand
}

// NewChance gives the same bytes for the same seed.
func NewChance(seed uint64) *Chance { return &Chance{r: rand.New(rand.NewPCG(seed, 1))} }

// Read fills b.
func (c *Chance) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var word [8]byte
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(word[:], c.r.Uint64())
		copy(b[i:], word[:])
	}
	return len(b), nil
}

func newWorld(t *testing.T, open Opener, f Features, base int) *world {
	t.Helper()
	w := &world{open: open, f: f, clock: NewClock(), log: "log-Under-Test", have: map[string]uint64{}}
	w.opts = eventstore.Options{Source: eventstore.Source{Now: w.clock.Now, Rand: NewChance(7)}}
	w.s = open(t, w.opts)
	t.Cleanup(func() { w.s.Close() })
	if base == 0 {
		return w
	}
	// source → middle → log under test, forked before the source's and the
	// middle's ends, so that what comes after must stay unseen.
	w.must(t, one("source", "a", any(), event(1), event(2)))
	w.must(t, one("source", "b", any(), event(3)))
	w.must(t, one("source", "a", any(), event(4), event(5)))
	w.must(t, eventstore.Batch{Log: "middle", Fork: &eventstore.Fork{From: "source", UpTo: 4}})
	w.must(t, one("middle", "a", exactly(3), event(6)))
	w.must(t, one("middle", "c", exactly(0), event(7)))
	w.must(t, one("middle", "b", exactly(1), event(8)))
	w.must(t, one("middle", "c", exactly(1), event(9)))
	w.must(t, eventstore.Batch{Log: w.log, Fork: &eventstore.Fork{From: "middle", UpTo: 7}})
	w.must(t, one("source", "hidden", any(), event(10)))
	w.must(t, one("middle", "a", any(), event(11)))
	w.base = 7
	w.have = map[string]uint64{"a": 4, "b": 2, "c": 1}
	return w
}

// at expects the n-th version after what the prefix has.
func (w *world) at(stream string, n int) eventstore.Expect {
	return eventstore.Exactly(w.have[stream] + uint64(n))
}

func (w *world) must(t *testing.T, batches ...eventstore.Batch) eventstore.Appended {
	t.Helper()
	a, err := w.s.Append(ctx(t), eventstore.Append{Batches: batches})
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return a
}

func (w *world) records(t *testing.T) []eventstore.Record {
	t.Helper()
	return collect(t, w.s.Read(ctx(t), w.log, 0, 0))
}

// whole checks that all logs of the store are right, whatever the test did.
func (w *world) whole(t *testing.T) {
	t.Helper()
	if t.Failed() {
		return
	}
	Whole(t, w.s)
}

// Whole checks a store: every log verifies, feeds are dense and agree with the
// logs, no id appears twice.
func Whole(t testing.TB, s eventstore.Owner) {
	t.Helper()
	c := context.Background()
	for shard := range s.Shards() {
		names, err := s.(eventstore.Importer).Logs(c, shard)
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, log := range names {
			rep, err := eventstore.Verify(c, s, log)
			if err != nil {
				t.Fatalf("verify %s: %v", log, err)
			}
			if !rep.OK() {
				t.Fatalf("verify %s: position %d: %s", log, rep.Bad, rep.Reason)
			}
			head, err := s.LogHead(c, log)
			if err != nil || rep.Records > 0 && (head.Position != rep.Last || head.Hash != rep.Hash) {
				t.Fatalf("head of %s is %+v, the log ends at %d (%v)", log, head, rep.Last, err)
			}
		}
		seen := map[eventstore.ID]bool{}
		feed, next := uint64(0), map[eventstore.LogID]uint64{}
		for r, err := range s.Feed(c, shard, 0, 0) {
			if cut := (*eventstore.TruncatedError)(nil); err != nil && asError(err, &cut) {
				return
			}
			if err != nil {
				t.Fatalf("feed: %v", err)
			}
			if feed++; r.Feed != feed || r.Shard != shard {
				t.Fatalf("feed position %d of shard %d where %d of %d should be", r.Feed, r.Shard, feed, shard)
			}
			if seen[r.ID] {
				t.Fatalf("id %s is in the feed twice", r.ID)
			}
			seen[r.ID] = true
			if last, ok := next[r.Log]; ok && r.Position != last+1 {
				t.Fatalf("log %s goes from position %d to %d", r.Log, last, r.Position)
			}
			next[r.Log] = r.Position
			total++
		}
		if head, err := s.Head(c, shard); err != nil || head != feed {
			t.Fatalf("head of shard %d is %d (%v), its feed ends at %d", shard, head, err, feed)
		}
	}
}

func ctx(t testing.TB) context.Context { return t.Context() }

func any() eventstore.Expect             { return eventstore.Any() }
func exactly(n uint64) eventstore.Expect { return eventstore.Exactly(n) }

func event(n int) eventstore.Event {
	return eventstore.Event{Type: "thing.changed", Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))}
}

func number(t testing.TB, r eventstore.Record) int {
	t.Helper()
	var d struct{ N int }
	if err := json.Unmarshal(r.Data, &d); err != nil {
		t.Fatalf("data of record %d: %v", r.Position, err)
	}
	return d.N
}

func one(log eventstore.LogID, stream string, expect eventstore.Expect, events ...eventstore.Event) eventstore.Batch {
	return eventstore.Batch{Log: log, Stream: stream, Expect: expect, Events: events,
		Meta: eventstore.Metadata{Actor: "usr_1", Correlation: "req_1", Origin: "test"}}
}

func collect(t testing.TB, seq func(func(eventstore.Record, error) bool)) []eventstore.Record {
	t.Helper()
	var out []eventstore.Record
	for r, err := range seq {
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		out = append(out, r)
	}
	return out
}

// differ is cmp.Diff for what usually is equal: megabytes are compared quickly.
func differ(want, got interface{}) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	d := cmp.Diff(want, got)
	return d[:min(len(d), 4000)]
}
