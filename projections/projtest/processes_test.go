package projtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/failpoint"
	"varve/eventstore/postgres"
	"varve/projections"
)

// installation is what several processes share: a log, leases and read models,
// all in one database.
type installation struct {
	place Place
	store eventstore.Owner
	state *postgres.State
}

func install(ctx context.Context, p Place) (i installation, err error) {
	i.place = p
	if i.store, err = postgres.Open(ctx, p.Database, postgres.Options{Schema: p.Schema + "_log"}); err != nil {
		return i, err
	}
	i.state, err = postgres.OpenState(ctx, p.Database, postgres.StateOptions{Schema: p.Schema + "_state", Logger: quiet})
	return i, err
}

func installed(t *testing.T, p Place) installation {
	t.Helper()
	i, err := install(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.state.Close(); _ = i.store.Close() })
	return i
}

func (i installation) start(t *testing.T) *projections.Runner {
	return start(t, i.store, i.place, projections.Options{Logger: quiet, Lease: i.state, PageSize: 50})
}

// owner is a process that follows until it is killed, says when it has caught up,
// and stops, as if its machine hung, in the middle of its n-th page.
func owner(schema, stopAt string) int {
	ctx := context.Background()
	n, err := strconv.Atoi(stopAt)
	if err != nil {
		return 2
	}
	i, err := install(ctx, Place{Database: os.Getenv("VARVE_TEST_MODELS"), Schema: schema})
	if err != nil {
		fmt.Println(err)
		return 3
	}
	r := projections.NewRunner(i.store, "", i.place.Options(projections.Options{Logger: quiet, Lease: i.state, PageSize: 50}))
	r.Add(Models()...)
	if err := r.Start(ctx); err != nil {
		fmt.Println(err)
		return 4
	}
	head, err := i.store.Head(ctx, 0)
	if err == nil {
		err = r.WaitApplied(ctx, 0, head)
	}
	if err != nil {
		return 5
	}
	var pages atomic.Int64
	failpoint.Enable(func(name string, _ int) error {
		if name == "projection.applied" && pages.Add(1) == int64(n) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		}
		return nil
	})
	fmt.Println("ready")
	select {}
}

// spawn starts an owner and waits until it has caught up, where it gets so far.
func spawn(t *testing.T, p Place, stopAt int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "VARVE_TEST_OWNER="+p.Schema, "VARVE_TEST_MODELS="+p.Database, "VARVE_TEST_STOP_AT="+strconv.Itoa(stopAt))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := make(chan string, 10)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
		close(lines)
	}()
	select {
	case line := <-lines:
		if line != "ready" {
			t.Fatalf("the other process says %q", line)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the other process does not get ready")
	}
	return cmd
}

// The process that applies is killed, again and again: another one that stood by
// takes over within seconds, and the rows end as if nothing had happened.
func TestAnotherProcessTakesOver(t *testing.T) {
	p := inDatabase(t)
	i := installed(t, p)
	world := NewWorld(t, i.store, 0, 5, 2)
	world.Go(t, 100)
	for round := range 3 {
		other := spawn(t, p, 0)
		r := i.start(t)
		world.Go(t, 50)
		CatchUp(t, i.store, r) // what the other process applied is seen here
		if err := other.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		world.Go(t, 50)
		CatchUp(t, i.store, r)
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("round %d: it took %s to take over", round, took)
		} else {
			t.Logf("round %d: taken over within %s", round, took)
		}
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "after owners were killed", Follow(t, i.store, Files(t), projections.Options{Logger: quiet}), p.Dump(t))
}

// Two processes that hang in the middle of a page lose their leases; what they had
// begun is given up, another process goes on, and when they wake up they change nothing.
func TestZombiesChangeNothing(t *testing.T) {
	p := inDatabase(t)
	i := installed(t, p)
	world := NewWorld(t, i.store, 0, 6, 2)
	world.Go(t, 100)
	var zombies []*exec.Cmd
	for n := range 2 {
		zombie := spawn(t, p, 2+n)
		world.Go(t, 100) // its pages stop it
		zombies = append(zombies, zombie)
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // whether it hangs yet changes nothing
	}
	r := i.start(t)
	begun := time.Now()
	CatchUp(t, i.store, r)
	t.Logf("taken over within %s", time.Since(begun))
	for _, z := range zombies {
		if err := z.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	world.Go(t, 100)
	CatchUp(t, i.store, r)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, z := range zombies {
		_ = z.Process.Kill()
		_ = z.Wait()
	}
	same(t, "after zombies", Follow(t, i.store, Files(t), projections.Options{Logger: quiet}), p.Dump(t))
}

// pairs writes pairs of documents and reads them in several processes until the
// function that it gives is called, which says how much was read.
func pairs(t *testing.T, store eventstore.Store, log eventstore.LogID, tolerate func(error) bool, runners map[*projections.Runner]*projections.Documents) (stop func() (reads, refused int64)) {
	var group sync.WaitGroup
	var reads, refused atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	for i := range 3 {
		group.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				if err := writePair(context.WithoutCancel(ctx), store, log, i, n); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(2 * time.Millisecond) //nolint:forbidigo // a rate of writing
			}
		})
	}
	for r, docs := range runners {
		group.Go(func() {
			for ctx.Err() == nil {
				err := readPairs(context.WithoutCancel(ctx), r, docs, log, nil)
				reads.Add(1)
				if err != nil && tolerate(err) {
					refused.Add(1)
				} else if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	return func() (int64, int64) {
		cancel()
		group.Wait()
		return reads.Load(), refused.Load()
	}
}

func refusedForNow(err error) bool { return domain.CodeOf(err) == domain.CodeUnavailable }

// While a model is built anew, now in one process and now in another, reads and
// writes go on in both: no read fails, none sees two states mixed, and in the end
// the old tables are gone.
func TestRebuildBesideReadsAndWrites(t *testing.T) {
	p := inDatabase(t)
	var runners []*projections.Runner
	reading := map[*projections.Runner]*projections.Documents{}
	var store eventstore.Owner
	for n := range 2 {
		i := installed(t, p)
		docs := projections.NewDocuments()
		r := projections.NewRunner(i.store, "", p.Options(projections.Options{Logger: quiet, Lease: i.state, PinWait: time.Minute}))
		r.Add(projections.NewDirectory(), docs, projections.NewObjects(), projections.NewBatches())
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		reading[r], store = docs, i.store
		runners = append(runners, r)
		if n == 0 {
			NewWorld(t, i.store, 0, 9, 2).Go(t, 300)
		}
	}
	for _, r := range runners {
		CatchUp(t, store, r)
	}
	stop := pairs(t, store, "pairs", func(error) bool { return false }, reading)
	for n := range 6 {
		if err := runners[n%2].Rebuild(t.Context(), "documents", nil); err != nil {
			t.Fatal(err)
		}
	}
	reads, _ := stop()
	t.Logf("%d reads beside six rebuilds", reads)
	for _, r := range runners {
		CatchUp(t, store, r)
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "rebuilt beside writes", Follow(t, store, Files(t), projections.Options{Logger: quiet}), p.Dump(t))
	if left := p.Schemas(t); len(left) != 1+2+len(Models()) { // serving, log, state
		t.Errorf("left are %v", left)
	}
}

// Connections of all kinds are ended under load: what cannot be read at that
// moment is refused with a reason, everything goes on, nothing is lost or doubled.
func TestModelConnectionsEnded(t *testing.T) {
	p := inDatabase(t)
	i := installed(t, p)
	docs := projections.NewDocuments()
	memory := engines["memory"](t, 1) // the log stays up: this is about the models
	r := projections.NewRunner(memory, "", p.Options(projections.Options{Logger: quiet, Lease: i.state, PageSize: 20, PinWait: 20 * time.Millisecond}))
	r.Add(projections.NewDirectory(), docs, projections.NewObjects(), projections.NewBatches())
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	world := NewWorld(t, memory, 0, 4, 2)
	CatchUp(t, memory, r)
	stop := pairs(t, memory, "pairs", refusedForNow, map[*projections.Runner]*projections.Documents{r: docs})
	ended := 0
	for n := range 12 {
		world.Go(t, 30)
		if n == 5 {
			go func() { _ = r.Rebuild(context.Background(), "documents", nil) }()
		}
		c := p.connect(t)
		rows, err := c.Query(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()`, p.Schema)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			ended++
		}
		rows.Close()
		_ = c.Close(t.Context())
		time.Sleep(250 * time.Millisecond) //nolint:forbidigo // so that much is begun again
	}
	reads, refused := stop()
	t.Logf("%d connections ended, %d reads, %d of them refused", ended, reads, refused)
	CatchUp(t, memory, r)
	if err := r.Rebuild(t.Context(), "objects", nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	same(t, "after ended connections", Follow(t, memory, Files(t), projections.Options{Logger: quiet}), p.Dump(t))
}

// A first build is interrupted between its transactions, again and again: it goes
// on with what it has, and ends with the same rows.
func TestInterruptedBuildGoesOn(t *testing.T) {
	p := inDatabase(t)
	store := engines["memory"](t, 3)
	history(t, store, 300)
	var hits atomic.Int64
	disable := failpoint.Enable(func(name string, _ int) error {
		if name == "projection.filled" && hits.Add(1)%3 != 0 {
			return &pgconn.PgError{Code: "57P01", Message: "as if the connection had been ended"}
		}
		return nil
	})
	have := Follow(t, store, p, projections.Options{Logger: quiet})
	disable()
	if n := hits.Load(); n < 4*3*2 {
		t.Errorf("only %d transactions were tried", n)
	}
	same(t, "a build that was interrupted", Follow(t, store, Files(t), projections.Options{Logger: quiet}), have)
}
