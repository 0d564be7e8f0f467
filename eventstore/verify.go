package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// VerifyReport is what recomputing a log found.
type VerifyReport struct {
	Log     LogID
	Records int
	Erased  int    // of them: their data could not be checked, their place in the chain was
	First   uint64 // position of the first record; above 1 where a prefix was removed by retention
	Last    uint64 // position up to which everything is right
	Hash    Hash   // of the record at Last
	Time    time.Time
	// Bad is the first position at which something is wrong, 0 where nothing is,
	// and Reason says what.
	Bad    uint64
	Reason string
}

// OK says that nothing wrong was found. A chain alone cannot see that its newest
// records are missing: compare with a signed checkpoint.
func (r VerifyReport) OK() bool { return r.Bad == 0 }

// DamagedError is what a read answers at a record whose attachments are missing
// or damaged.
type DamagedError struct {
	Position uint64
	Feed     uint64
	Cause    error
}

// Error names the record by its position.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("record at position %d (feed %d): %v", e.Position, e.Feed, e.Cause)
}

// Unwrap gives the cause.
func (e *DamagedError) Unwrap() error { return e.Cause }

// verifyChunk is how many records go from the reading to the computing goroutine
// at once.
const verifyChunk = 500

// Verify reads a log from its beginning, prefix included, and recomputes
// everything: positions without gaps, times that never go back, versions without
// gaps, the digest of data and attachments, the chain. It stops at the first
// position that is wrong; the error is for what kept it from reading.
func Verify(ctx context.Context, s Follower, log LogID) (VerifyReport, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rep := VerifyReport{Log: log}
	head, err := s.LogHead(ctx, log)
	if err != nil {
		return rep, fmt.Errorf("verify log: %w", err)
	}
	if !head.Exists {
		return rep, fmt.Errorf("verify log: %q does not exist", log)
	}
	chunks := make(chan []Record, 4)
	var readErr error
	go func() {
		defer close(chunks)
		chunk := make([]Record, 0, verifyChunk)
		for r, err := range s.Read(ctx, log, 0, 0) {
			if err != nil {
				readErr = err
				break
			}
			if chunk = append(chunk, r); len(chunk) == verifyChunk {
				select {
				case chunks <- chunk:
				case <-ctx.Done():
					readErr = ctx.Err()
					return
				}
				chunk = make([]Record, 0, verifyChunk)
			}
		}
		if len(chunk) > 0 {
			select {
			case chunks <- chunk:
			case <-ctx.Done():
			}
		}
	}()
	v := verifier{rep: &rep, versions: map[string]uint64{}}
	for chunk := range chunks {
		for i := range chunk {
			if !v.check(&chunk[i]) {
				return rep, nil
			}
		}
	}
	var damaged *DamagedError
	switch {
	case ctx.Err() != nil:
		return rep, fmt.Errorf("verify log: %w", ctx.Err())
	case errors.As(readErr, &damaged):
		v.bad(damaged.Position, damaged.Cause.Error())
	case readErr != nil:
		return rep, fmt.Errorf("verify log: %w", readErr)
	case rep.Records > 0 && rep.Last < head.Position:
		v.bad(rep.Last+1, fmt.Sprintf("is missing: the log's head is at %d", head.Position))
	}
	return rep, nil
}

type verifier struct {
	rep      *VerifyReport
	versions map[string]uint64
	space    []byte
	meta     []byte
}

func (v *verifier) bad(pos uint64, reason string) bool {
	v.rep.Bad, v.rep.Reason = pos, reason
	return false
}

// check looks at the next record.
func (v *verifier) check(r *Record) bool {
	rep := v.rep
	first := rep.Records == 0
	switch {
	case first:
		rep.First = r.Position
	case r.Position != rep.Last+1:
		return v.bad(rep.Last+1, fmt.Sprintf("is missing: the next record is at %d", r.Position))
	case r.Time.Before(rep.Time):
		return v.bad(r.Position, "its time is before that of the record before it")
	}
	if known, seen := v.versions[r.Stream]; (seen || rep.First == 1) && r.Version != known+1 {
		return v.bad(r.Position, fmt.Sprintf("it is version %d of its stream, not %d", r.Version, known+1))
	}
	v.versions[r.Stream] = r.Version
	if r.Erased {
		rep.Erased++
	} else if DataDigest(r.Salt, r.Data, r.Attachments) != r.Digest {
		return v.bad(r.Position, "its data or attachments are not those that were appended: the digest differs")
	}
	// Where a prefix was cut, the first hash that is left is the anchor.
	if !first || r.Position == 1 {
		v.meta = AppendMetadata(v.meta[:0], &r.Meta)
		if chainHash(v.space[:0], rep.Hash, r, v.meta) != r.Hash {
			return v.bad(r.Position, "its hash is not that of the chain")
		}
	}
	rep.Records++
	rep.Last, rep.Hash, rep.Time = r.Position, r.Hash, r.Time
	return true
}
