package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"varve/eventstore/failpoint"
)

// join makes this process a member, which holds nothing.
func (s *State) join(ctx context.Context) error {
	if err := failpoint.Hit("state.join"); err != nil {
		return err
	}
	var member int64
	err := s.pool.QueryRow(ctx, s.in(`INSERT INTO $S.members (until) VALUES (clock_timestamp() + $1) RETURNING member`), s.alive).Scan(&member)
	if err != nil {
		return s.fault("join", err)
	}
	s.leases.mu.Lock()
	s.leases.member = member
	s.leases.mu.Unlock()
	return nil
}

func (s *State) member() int64 {
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	return s.leases.member
}

// leave gives everything back. The other tables' rows of dead members are nobody's.
func (s *State) leave(ctx context.Context) error {
	member := s.member()
	s.lose()
	_, err := s.exec(ctx, "leave", `WITH gone AS (DELETE FROM $S.leases WHERE member = $1) DELETE FROM $S.members WHERE member = $1`, member)
	return err
}

// nobody is the member of a process that lost what it held and has not joined since.
const nobody = 0

// lose ends what this process holds: it may not count on it any more. The member that
// held it is never renewed again, or else its leases were nobody's to take.
func (s *State) lose() {
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	for _, end := range s.leases.held {
		end()
	}
	clear(s.leases.held)
	s.leases.member = nobody
}

// beat says again and again that this process lives, and tries for what it waits
// for. Believed is from before the statement was sent: the server's until is later.
func (s *State) beat(ctx context.Context) {
	defer close(s.ended)
	every := s.alive / 4
	t := time.NewTicker(every)
	defer t.Stop()
	believed := time.Now()
	for {
		beat := true
		select {
		case <-ctx.Done():
			return
		case <-s.leases.kick:
			beat = false
		case <-t.C:
		}
		if beat {
			believed = s.pulse(ctx, believed)
		}
		err := s.disown(ctx)
		if err == nil {
			err = s.try(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("cannot ask for leases: trying again", slog.Any("error", err))
		}
	}
}

// pulse says once that this process lives, and gives since when that is believed.
func (s *State) pulse(ctx context.Context, believed time.Time) time.Time {
	at := time.Now()
	if s.member() != nobody {
		within, cancel := context.WithDeadline(ctx, believed.Add(s.alive))
		lives, err := s.renew(within)
		cancel()
		switch {
		case ctx.Err() != nil:
			return believed
		case err == nil && lives:
			return at
		case err != nil && time.Since(believed) < s.alive-s.alive/4:
			return believed // the next beat may still come in time
		}
		s.log.Warn("this process was not heard for too long: it lets go of what it held", slog.Any("error", err))
		s.lose()
		at = time.Now()
	}
	if err := s.join(ctx); err != nil {
		return believed
	}
	return at
}

// renew moves until, if it has not passed.
func (s *State) renew(ctx context.Context) (lives bool, err error) {
	if err := failpoint.Hit("state.renew"); err != nil {
		return false, err
	}
	n, err := s.exec(ctx, "renew leases", `UPDATE $S.members SET until = clock_timestamp() + $2 WHERE member = $1 AND until > clock_timestamp()`, s.member(), s.alive)
	return n == 1, err
}

// live is the condition that the member of a row of table t lives.
const live = `EXISTS (SELECT FROM $S.members m WHERE m.member = %s.member AND m.until > clock_timestamp())`

var takeLeases = `INSERT INTO $S.leases (name, member, claim)
	SELECT n, $2, $3 FROM unnest($1::text[]) n WHERE NOT EXISTS (SELECT FROM $S.leases l WHERE l.name = n AND ` + fmt.Sprintf(live, "l") + `) ORDER BY n
	ON CONFLICT (name) DO UPDATE SET member = excluded.member, claim = excluded.claim WHERE NOT ` + fmt.Sprintf(live, "leases") + `
	RETURNING name`

// try asks for all names that are waited for and not held here. Where the answer is
// lost, what it may have taken is in doubt.
func (s *State) try(ctx context.Context) error {
	l := &s.leases
	l.mu.Lock()
	member := l.member
	var names []string
	for name := range l.waiting {
		if l.held[name] == nil {
			names = append(names, name)
		}
	}
	l.mu.Unlock()
	if len(names) == 0 || member == nobody {
		return nil
	}
	number := rand.Int64()
	rows, err := s.pool.Query(ctx, s.in(takeLeases), names, member, number)
	var got []string
	if err == nil {
		got, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err == nil {
		err = failpoint.Hit("state.leases-taken")
	}
	if err != nil {
		for _, name := range names {
			l.inDoubt(claim{name, number})
		}
		return s.fault("ask for leases", err)
	}
	for _, name := range got {
		s.give(ctx, claim{name, number}, member)
	}
	return nil
}

func (l *leases) inDoubt(c claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubt[c] = time.Now()
}

// disown deletes rows that are in doubt: a process that lives would else keep them
// from everybody, itself included. It does so for a while, as a statement whose
// connection was lost may be executed later.
func (s *State) disown(ctx context.Context) error {
	l := &s.leases
	at := time.Now()
	l.mu.Lock()
	var names []string
	var numbers []int64
	for c := range l.doubt {
		names, numbers = append(names, c.name), append(numbers, c.number)
	}
	l.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	if _, err := s.exec(ctx, "give leases back", `DELETE FROM $S.leases l USING unnest($1::text[], $2::bigint[]) AS c(name, claim) WHERE l.name = c.name AND l.claim = c.claim`, names, numbers); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.doubt, func(_ claim, since time.Time) bool { return at.Sub(since) > 2*s.alive })
	return nil
}

// give hands a lease to the first who waits for it, or back where nobody does any more.
func (s *State) give(ctx context.Context, c claim, member int64) {
	l, name := &s.leases, c.name
	l.mu.Lock()
	queue := l.waiting[name]
	if len(queue) == 0 || l.member != member {
		l.mu.Unlock()
		s.drop(ctx, c)
		return
	}
	held, end := context.WithCancel(context.Background())
	l.held[name] = end
	if l.waiting[name] = queue[1:]; len(queue) == 1 {
		delete(l.waiting, name)
	}
	l.mu.Unlock()
	queue[0] <- grant{held, sync.OnceFunc(func() {
		l.mu.Lock()
		mine := held.Err() == nil
		if mine {
			end()
			delete(l.held, name)
		}
		l.mu.Unlock()
		if mine { // else the process lost it, and perhaps holds it again as another member
			ctx, cancel := context.WithTimeout(context.Background(), s.alive)
			defer cancel()
			s.drop(ctx, c)
			s.knock()
		}
	})}
}

// drop deletes a lease's row. Where that cannot be done in time it is in doubt.
func (s *State) drop(ctx context.Context, c claim) {
	ctx, cancel := context.WithTimeout(ctx, s.alive/3)
	defer cancel()
	for {
		err := failpoint.Hit("state.lease-drop")
		if err == nil {
			_, err = s.exec(ctx, "release "+c.name, `DELETE FROM $S.leases WHERE name = $1 AND claim = $2`, c.name, c.number)
		}
		if err == nil {
			return
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			s.log.Warn("a lease is free only when the server is heard again, or when this process ends", slog.String("lease", c.name), slog.Any("error", err))
			s.leases.inDoubt(c)
			return
		}
	}
}

func (s *State) knock() {
	select {
	case s.leases.kick <- struct{}{}:
	default:
	}
}

// Acquire waits for a lease. It is lost where the server cannot be reached for so
// long that it takes this process for dead.
func (s *State) Acquire(ctx context.Context, name string) (context.Context, func(), error) {
	l := &s.leases
	given := make(chan grant, 1)
	l.mu.Lock()
	l.waiting[name] = append(l.waiting[name], given)
	l.mu.Unlock()
	s.knock()
	select {
	case g := <-given:
		held, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(g.ctx, cancel)
		return held, func() { stop(); cancel(); g.release() }, nil
	case <-ctx.Done():
	case <-s.ended:
	}
	l.mu.Lock()
	l.waiting[name] = slices.DeleteFunc(l.waiting[name], func(c chan grant) bool { return c == given })
	if len(l.waiting[name]) == 0 {
		delete(l.waiting, name)
	}
	l.mu.Unlock()
	select {
	case g := <-given:
		g.release()
	default:
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	return nil, nil, errors.New("the state is closed")
}
