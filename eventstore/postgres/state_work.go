package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

var takeWork = `INSERT INTO $S.work (work, item, member, done)
	SELECT $1, i, $3, false FROM (
		SELECT i, min(n) AS n FROM unnest($2::text[]) WITH ORDINALITY AS u(i, n)
		WHERE NOT EXISTS (SELECT FROM $S.work w WHERE w.work = $1 AND w.item = i AND (w.done OR ` + fmt.Sprintf(live, "w") + `))
		GROUP BY i ORDER BY n LIMIT $4) AS free ORDER BY i
	ON CONFLICT (work, item) DO UPDATE SET member = excluded.member WHERE NOT work.done AND NOT ` + fmt.Sprintf(live, "work") + `
	RETURNING item`

// Take claims items for this member with one statement. Of two processes that
// want the same item the one that inserts its row has it.
func (s *State) Take(ctx context.Context, work string, items []string, most int) (taken, left []string, err error) {
	if len(items) == 0 {
		return nil, nil, nil
	}
	collect := func(text string, args ...any) (map[string]bool, error) {
		rows, err := s.marks.Query(ctx, s.in(text), args...)
		if err != nil {
			return nil, s.fault("share work", err)
		}
		found := map[string]bool{}
		var item string
		if _, err := pgx.ForEachRow(rows, []any{&item}, func() error { found[item] = true; return nil }); err != nil {
			return nil, s.fault("share work", err)
		}
		return found, nil
	}
	got, err := collect(takeWork, work, items, s.member(), most)
	if err != nil {
		return nil, nil, err
	}
	done, err := collect(`SELECT item FROM $S.work WHERE work = $1 AND done AND item = ANY($2)`, work, items)
	if err != nil {
		return nil, nil, err
	}
	for _, item := range items {
		switch {
		case got[item]:
			taken = append(taken, item)
		case !done[item]:
			left = append(left, item)
		}
	}
	return taken, left, nil
}

// Finish marks items as done, whoever holds them.
func (s *State) Finish(ctx context.Context, work string, items ...string) error {
	return s.mark(ctx, "finish work", `UPDATE $S.work SET done = true WHERE work = $1 AND item = ANY($2)`, work, items)
}

// GiveBack frees items that this process holds.
func (s *State) GiveBack(ctx context.Context, work string, items ...string) error {
	return s.mark(ctx, "give work back", `DELETE FROM $S.work WHERE work = $1 AND item = ANY($2) AND member = $3 AND NOT done`, work, items, s.member())
}

// Forget drops a work's rows.
func (s *State) Forget(ctx context.Context, work string) error {
	return s.mark(ctx, "forget work", `DELETE FROM $S.work WHERE work = $1`, work)
}

// mark runs a statement about work. What a server that crashed forgot of it is
// found out again: see state.Store.
func (s *State) mark(ctx context.Context, what, text string, args ...any) error {
	if _, err := s.marks.Exec(ctx, s.in(text), args...); err != nil {
		return s.fault(what, err)
	}
	return nil
}
