package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"varve/domain"
	"varve/eventstore/follow"
)

// model is a projection or an index with what runs it.
type model struct {
	name     string
	p        Projection // nil for an index
	database *database  // nil: in a file
	ix       Index
	filled   bool // written by the goroutine that runs the model, read before and after it

	swap   sync.RWMutex // held for reading by every query of a file, for writing while it is exchanged
	tables *tables
	stmts  sync.Map      // text → *sql.Stmt of tables.read
	ready  chan struct{} // closed when there are tables for the first time

	running atomic.Pointer[[]*follow.Follower]
	stop    context.CancelFunc
	done    chan struct{}
	err     atomic.Pointer[error]
	filling atomic.Pointer[fillProgress]
	// rebuilding is how far a rebuild beside what serves is; nil: none is under way.
	rebuilding atomic.Pointer[fillProgress]
	// building is held by whoever fills the file beside; it is free when sending does not wait.
	building chan struct{}
}

type fillProgress struct {
	done, total uint64
	rate        float64
}

// part is how much of all is done, from 0 to 1.
func (p *fillProgress) part() float64 {
	if p.total == 0 {
		return 0
	}
	return min(1, float64(p.done)/float64(p.total))
}

func (m *model) begin(fs []*follow.Follower, stop context.CancelFunc) {
	m.stop, m.done = stop, make(chan struct{})
	m.err.Store(nil)
	m.running.Store(&fs)
}

func (m *model) ended() { m.filling.Store(nil); close(m.done) }

// halt stops following and waits for it.
func (m *model) halt() {
	if m.stop == nil {
		return
	}
	m.stop()
	<-m.done
}

func (m *model) fail(err error) { m.err.Store(&err) }

func (m *model) failure() error {
	if p := m.err.Load(); p != nil {
		return *p
	}
	return nil
}

func (m *model) followers() []*follow.Follower {
	if p := m.running.Load(); p != nil {
		return *p
	}
	return nil
}

func (m *model) progress(done, total uint64, rate float64) {
	m.filling.Store(&fillProgress{done, total, rate})
}

func (m *model) close() error {
	m.swap.Lock()
	defer m.swap.Unlock()
	return m.closeLocked()
}

func (m *model) closeLocked() error {
	if m.tables == nil {
		return nil
	}
	if f := m.tables; f.database != nil {
		m.tables = nil
		f.users.Wait() // what it holds ends with the runner's connection
		return nil
	}
	f := m.tables
	m.tables = nil
	m.stmts.Range(func(k, s any) bool { _ = s.(*sql.Stmt).Close(); m.stmts.Delete(k); return true })
	if err := f.close(); err != nil {
		return fmt.Errorf("close %s: %w", m.name, err)
	}
	return nil
}

// current are the tables that serve, nil where there are none.
func (m *model) current() *tables {
	m.swap.RLock()
	defer m.swap.RUnlock()
	return m.tables
}

// serve lets a schema serve. Queries that run on another one end there.
func (m *model) serve(f *tables) {
	m.swap.Lock()
	defer m.swap.Unlock()
	m.tables, m.filled = f, true
	select {
	case <-m.ready:
	default:
		close(m.ready)
	}
}

// reader is the part of a read model that its queries go through.
type reader struct{ m *model }

func (r *reader) bind(m *model) { r.m = m }

// query runs one prepared statement and gives its rows to scan, one by one.
func (r *reader) query(ctx context.Context, text string, args []any, scan func(*sql.Rows) error) error {
	if r.m == nil {
		return errors.New("the read model was not added to a runner")
	}
	m := r.m
	if m.database != nil {
		return m.queryDatabase(ctx, text, args, scan)
	}
	m.swap.RLock()
	defer m.swap.RUnlock()
	if m.tables == nil {
		return m.notRunning("is not running")
	}
	s, err := m.prepared(ctx, text) //nolint:sqlclosecheck // kept for the next query, closed with the model
	if err != nil {
		return fmt.Errorf("query %s: %w", m.name, err)
	}
	rows, err := s.QueryContext(ctx, args...)
	if err != nil {
		return fmt.Errorf("query %s: %w", m.name, err)
	}
	return m.scan(rows, scan)
}

func (m *model) notRunning(why string) error {
	return &domain.Error{Code: domain.CodeUnavailable, Message: "the read model " + m.name + " " + why, RetryAfter: 1}
}

func (m *model) scan(rows *sql.Rows, scan func(*sql.Rows) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			if errors.Is(err, errEnough) {
				return nil
			}
			return fmt.Errorf("read row of %s: %w", m.name, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("query %s: %w", m.name, err)
	}
	return nil
}

// errEnough is what scan gives when it needs no more rows.
var errEnough = errors.New("enough rows")

// prepared keeps statements by text; texts are few: lists of arguments are padded.
func (m *model) prepared(ctx context.Context, text string) (*sql.Stmt, error) {
	if s, ok := m.stmts.Load(text); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := m.tables.read.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if kept, raced := m.stmts.LoadOrStore(text, s); raced {
		_ = s.Close() //nolint:sqlclosecheck // the other one is kept
		return kept.(*sql.Stmt), nil
	}
	return s, nil
}
