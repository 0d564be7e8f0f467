package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"varve/eventstore"
	"varve/eventstore/failpoint"
	"varve/eventstore/storetest"
)

// Ways in which a connection can be lost at a commit.
const (
	whole      int32 = iota
	unsent           // the statement never leaves
	unanswered       // it is executed, the answer is lost
	late             // it arrives after its outcome was looked for
)

// wire is a network whose next statement is lost in some way.
type wire struct {
	next    atomic.Int32
	release chan struct{} // what is late arrives now
	arrived chan struct{}
}

type faultyConn struct {
	net.Conn
	wire *wire
	dead atomic.Bool
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &faultyConn{Conn: c, wire: w}, nil
}

var errCut = errors.New("cut by the test")

func (c *faultyConn) Write(b []byte) (int, error) {
	if c.dead.Load() {
		return 0, errCut
	}
	switch c.wire.next.Swap(whole) {
	case unsent:
		c.dead.Store(true)
		c.Conn.Close()
		return 0, errCut
	case unanswered:
		c.dead.Store(true)
		if _, err := c.Conn.Write(b); err != nil {
			return 0, err
		}
		_, _ = c.Conn.Read(make([]byte, 4096)) // it has been executed
		c.Conn.Close()
		return 0, errCut
	case late:
		c.dead.Store(true)
		sent := append([]byte(nil), b...)
		go func() {
			<-c.wire.release
			_, _ = c.Conn.Write(sent)
			_, _ = c.Conn.Read(make([]byte, 4096)) // it has been executed
			c.Conn.Close()
			c.wire.arrived <- struct{}{}
		}()
		return 0, errCut
	}
	return c.Conn.Write(b)
}

func (c *faultyConn) Read(b []byte) (int, error) {
	if c.dead.Load() {
		return 0, errCut
	}
	return c.Conn.Read(b)
}

func (c *faultyConn) Close() error {
	if c.dead.Swap(true) {
		return nil // the test closes it
	}
	return c.Conn.Close()
}

func faulty(t *testing.T, schema string) (*wire, eventstore.Owner) {
	t.Helper()
	e, err := newEngine(database(t), Options{Schema: schema, LockTimeout: time.Second}, steps)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{release: make(chan struct{}), arrived: make(chan struct{})}
	e.config.ConnConfig.DialFunc = w.dial
	if err := e.open(context.Background()); err != nil {
		t.Fatal(err)
	}
	s, err := eventstore.NewOwner(e, eventstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return w, s
}

func event(n int) eventstore.Event {
	return eventstore.Event{Type: "a.b", Data: fmt.Appendf(nil, `{"n":%d}`, n)}
}

func put(s eventstore.Owner, stream string, events ...eventstore.Event) (eventstore.Appended, error) {
	return s.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{{Log: "l", Stream: stream, Events: events}}})
}

// TestConnectionLostAtCommit: whatever is lost, and whether or not another
// process commits meanwhile, the append is answered with success and is there
// once; a statement that arrives late writes nothing.
func TestConnectionLostAtCommit(t *testing.T) {
	database(t)
	for name, way := range map[string]int32{"unsent": unsent, "unanswered": unanswered, "late": late} {
		for _, contested := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/contested=%v", name, contested), func(t *testing.T) {
				schema := schema(t)
				w, s := faulty(t, schema)
				other := open2(t, schema)
				appended := 0
				add := func(s eventstore.Owner) {
					t.Helper()
					if _, err := put(s, fmt.Sprint("s", appended%3), event(appended)); err != nil {
						t.Fatal(err)
					}
					appended++
				}
				add(s)
				if contested { // a lost race: the next commits lock the head first
					add(other)
					add(s)
				}
				for range 3 {
					stop := failpoint.Enable(func(name string, hit int) error {
						switch {
						case name != "postgres.before-commit":
						case hit == 1:
							w.next.Store(way)
						case hit == 2 && way == late: // just before it is tried again
							w.release <- struct{}{}
							<-w.arrived
						}
						return nil
					})
					add(s)
					stop()
					if got := w.next.Load(); got != whole {
						t.Fatal("the connection was not lost")
					}
					if contested {
						add(other)
					}
				}
				add(s)
				head, err := s.Head(context.Background(), 0)
				if err != nil || head != uint64(appended) {
					t.Fatalf("%d records, %d were appended (%v)", head, appended, err)
				}
				storetest.Whole(t, s)
			})
		}
	}
}

func open2(t *testing.T, schema string) eventstore.Owner {
	t.Helper()
	s, err := Open(context.Background(), database(t), Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestCommitWithoutRecordsLost: a fork has no record to look for; the head says
// who moved it.
func TestCommitWithoutRecordsLost(t *testing.T) {
	for _, way := range []int32{unsent, unanswered} {
		w, s := faulty(t, schema(t))
		if _, err := put(s, "s", event(1), event(2)); err != nil {
			t.Fatal(err)
		}
		stop := failpoint.Enable(func(name string, hit int) error {
			if name == "postgres.before-commit" && hit == 1 {
				w.next.Store(way)
			}
			return nil
		})
		_, err := s.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{{Log: "b", Fork: &eventstore.Fork{From: "l", UpTo: 1}}}})
		stop()
		if err != nil {
			t.Fatalf("way %d: %v", way, err)
		}
		if h, err := s.LogHead(context.Background(), "b"); err != nil || !h.Exists || h.Position != 1 {
			t.Fatal(h, err)
		}
	}
}

// TestServerConnectionsEnded: an administrator ends all connections again and
// again under load of two processes. Every append is answered with success or
// with an unknown outcome, and what was answered is there once.
func TestServerConnectionsEnded(t *testing.T) {
	schema := schema(t)
	stores := []eventstore.Owner{open2(t, schema), open2(t, schema)}
	const writers, each = 6, 60
	var mu sync.Mutex
	acked := map[eventstore.ID]uint64{}
	unknown, refused := 0, map[string]int{}
	var wg sync.WaitGroup
	answers := make(chan struct{}, writers*each)
	for k := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range each {
				a, err := put(stores[k%2], fmt.Sprint("s", k), event(i))
				answers <- struct{}{}
				mu.Lock()
				switch {
				case err == nil:
					acked[a.Records[0].ID] = a.Records[0].Feed
				case errors.Is(err, eventstore.ErrUnknownOutcome):
					unknown++
				case code(err) != "" || strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "closed"):
					refused[err.Error()]++ // nothing was written, says the answer: that is checked below
				default:
					t.Errorf("writer %d: %v", k, err)
				}
				mu.Unlock()
			}
		}()
	}
	ended := 0
	for n := range writers * each {
		<-answers
		if n%8 != 7 {
			continue
		}
		execute(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		ended++
	}
	wg.Wait()
	seen := 0
	for r, err := range stores[0].Feed(context.Background(), 0, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if feed, ok := acked[r.ID]; ok {
			if feed != r.Feed {
				t.Fatalf("record %s was acknowledged at %d and is at %d", r.ID, feed, r.Feed)
			}
			seen++
		}
	}
	if seen != len(acked) {
		t.Fatalf("%d records were acknowledged, %d of them are there", len(acked), seen)
	}
	if head, _ := stores[0].Head(context.Background(), 0); int(head) > len(acked)+unknown {
		t.Fatalf("%d records, %d acknowledged and %d with an unknown outcome", head, len(acked), unknown)
	}
	storetest.Whole(t, stores[0])
	t.Logf("refused: %v", refused)
	t.Logf("report: connections ended %d times: %d of %d appends acknowledged, %d unknown, none lost or doubled", ended, len(acked), writers*each, unknown)
}

// TestWatch: a commit of another process wakes who waits, with notifications and
// without them, and after the listening connection was lost.
func TestWatch(t *testing.T) {
	database(t)
	wake := func(t *testing.T, a, b eventstore.Owner, after uint64) time.Duration {
		t.Helper()
		soon, stop := context.WithTimeout(context.Background(), 10*time.Second)
		defer stop()
		woken := make(chan error, 1)
		go func() { woken <- a.Wait(soon, 0, after) }()
		began := time.Now()
		if _, err := put(b, "s", event(1)); err != nil {
			t.Fatal(err)
		}
		if err := <-woken; err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	hearing := func(t *testing.T, schema string) eventstore.Owner {
		t.Helper()
		e, err := newEngine(database(t), Options{Schema: schema}, steps)
		if err != nil {
			t.Fatal(err)
		}
		e.lookAfter = time.Hour // it knows what it is told
		if err := e.open(context.Background()); err != nil {
			t.Fatal(err)
		}
		if e.listen.conn == nil {
			t.Fatal("notifications arrive, and were not found to")
		}
		s, err := eventstore.NewOwner(e, eventstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	t.Run("notified", func(t *testing.T) {
		schema := schema(t)
		a, b := hearing(t, schema), open2(t, schema)
		for i := range 5 {
			wake(t, a, b, uint64(i))
		}
		execute(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
		for i := range 5 {
			wake(t, a, b, uint64(5+i))
		}
	})
	t.Run("closed at once", func(t *testing.T) { // what is committed while the announcer rests is told by Close
		schema := schema(t)
		a := hearing(t, schema)
		for i := range 5 {
			b := open2(t, schema)
			for range 3 {
				if _, err := put(b, "s", event(1)); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			soon, stop := context.WithTimeout(context.Background(), 10*time.Second)
			err := a.Wait(soon, 0, uint64(3*i+2))
			stop()
			if err != nil {
				t.Fatalf("the last commit of a process that closed was not told: %v", err)
			}
		}
	})
	t.Run("ended before it told", func(t *testing.T) {
		schema := schema(t)
		a := open2(t, schema)
		e, err := OpenEngine(context.Background(), database(t), Options{Schema: schema})
		if err != nil {
			t.Fatal(err)
		}
		e.announcer.end() // as if it were killed between a commit and its notification
		b, err := eventstore.NewOwner(e, eventstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for i := range 2 {
			wake(t, a, b, uint64(i))
		}
	})
	t.Run("polled", func(t *testing.T) {
		schema := schema(t)
		e, err := newEngine(database(t), Options{Schema: schema, Poll: 10 * time.Millisecond}, steps)
		if err != nil {
			t.Fatal(err)
		}
		e.deaf = true // as behind a pooler
		if err := e.open(context.Background()); err != nil {
			t.Fatal(err)
		}
		a, err := eventstore.NewOwner(e, eventstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b := open2(t, schema)
		for i := range 5 {
			wake(t, a, b, uint64(i))
		}
		if e.listen.polls.Load() == 0 {
			t.Error("nobody looked")
		}
	})
}

// TestOpenSaysWhatIsWrong: one line each, and never the password.
func TestOpenSaysWhatIsWrong(t *testing.T) {
	dsn := database(t)
	const secret = "pa$$-w0rd"
	base, _, _ := strings.Cut(strings.TrimPrefix(dsn, "postgres://"), "?")
	_, at, _ := strings.Cut(base, "@")
	address, dbname, _ := strings.Cut(at, "/")
	newer, sharded := schema(t), schema(t)
	open2(t, newer).Close()
	execute(t, "UPDATE "+newer+".store SET format = 99")
	open(t, sharded, eventstore.Options{}).Close()
	role := fmt.Sprintf("varve_nobody_%d", os.Getpid())
	execute(t, "CREATE ROLE "+role+" LOGIN")
	t.Cleanup(func() { execute(t, "DROP ROLE "+role) })
	latin := fmt.Sprintf("varve_latin_%d", os.Getpid())
	execute(t, "CREATE DATABASE "+latin+" ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
	t.Cleanup(func() { execute(t, "DROP DATABASE "+latin) })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	for name, c := range map[string]struct {
		dsn    string
		schema string
		shards int
		want   string
	}{
		"a file name":        {"data/log.db", "", 0, "must look like postgres://USER:PASSWORD@HOST:5432/DATABASE"},
		"another scheme":     {"mysql://app:" + secret + "@h/d?x=y", "", 0, "must look like postgres://"},
		"a password with /":  {"postgres://app:" + secret + "/x@h/d", "", 0, "percent-encoded"},
		"an unknown setting": {"postgres://app:" + secret + "@" + at + "?sslmode=perhaps", "", 0, "sslmode"},
		"words, wrong":       {"host=localhost password=" + secret + " port=many", "", 0, "must look like"},
		"nobody there":       {"postgres://app:" + secret + "@" + nobody + "/d", "", 0, "no PostgreSQL answers at " + nobody + ": start it"},
		"no such host":       {"postgres://app:" + secret + "@nowhere.invalid/d?connect_timeout=2", "", 0, "no PostgreSQL answers at nowhere.invalid:5432"},
		"no such database":   {"postgres://varve:" + secret + "@" + address + "/nothing?sslmode=disable", "", 0, "the database does not exist: create it first"},
		"no such user":       {"postgres://nobody:" + secret + "@" + address + "/" + dbname + "?sslmode=disable", "", 0, "the server does not let this user in"},
		"no rights":          {"postgres://" + role + ":" + secret + "@" + at + "?sslmode=disable", "fresh", 0, "GRANT CREATE ON DATABASE"},
		"others' schema":     {"postgres://" + role + ":" + secret + "@" + at + "?sslmode=disable", sharded, 0, "lacks a right"},
		"another encoding":   {"postgres://varve:" + secret + "@" + address + "/" + latin + "?sslmode=disable", "", 0, "encoding is LATIN1"},
		"a newer store":      {dsn, newer, 0, "a newer Varve made this store"},
		"other shards":       {dsn, sharded, 3, "made with 2 shards, not 3"},
		"a bad schema":       {dsn, "a; DROP", 0, "small letters"},
		"too many shards":    {dsn, "", 1 << 20, "at most"},
	} {
		s, err := Open(context.Background(), c.dsn, Options{Schema: c.schema, Shards: c.shards})
		if err == nil {
			s.Close()
			t.Errorf("%s: was opened", name)
			continue
		}
		text := err.Error()
		t.Logf("%s: %s", name, text)
		if !strings.Contains(text, c.want) || strings.Contains(text, "\n") || strings.Contains(text, secret) || strings.Contains(text, "w0rd") {
			t.Errorf("%s: %q must say %q, in one line and without the password", name, text, c.want)
		}
	}
}

func TestServerVersions(t *testing.T) {
	for version, good := range map[string]bool{
		"15.18 (Debian 15.18-0+deb12u1)": true, "14.0": true, "17beta2": true, "18devel": true, "13.14": false, "9.6.24": false, "": false,
	} {
		err := checkServer(version, "UTF8")
		if (err == nil) != good {
			t.Errorf("version %q: %v", version, err)
		}
		if err != nil && !strings.Contains(err.Error(), "14 or newer") {
			t.Errorf("version %q: %v", version, err)
		}
	}
}

// TestOpenAtOnce: several processes find an empty database.
func TestOpenAtOnce(t *testing.T) {
	name, dsn := schema(t), database(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s, err := Open(context.Background(), dsn, Options{Schema: name, Shards: 3})
			if err != nil {
				t.Error(err)
				return
			}
			if s.Shards() != 3 {
				t.Errorf("%d shards", s.Shards())
			}
			s.Close()
		}()
	}
	wg.Wait()
}
