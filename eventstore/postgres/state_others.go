package postgres

import (
	"context"
	"time"
)

// Others counts the other processes that have the installation open. One that was
// killed counts as long as it is believed to live: Others waits for that.
func (s *State) Others(ctx context.Context) (n int, err error) {
	for deadline := time.Now().Add(s.alive + s.alive/2); ; {
		err := s.pool.QueryRow(ctx, s.in(`SELECT count(*) FROM $S.members WHERE member <> $1 AND until > clock_timestamp()`), s.member()).Scan(&n)
		if err != nil {
			return 0, s.fault("count the processes", err)
		}
		if n == 0 || time.Now().After(deadline) {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(s.alive / 8):
		}
	}
}
