package serve

import (
	"context"
	"errors"
	"fmt"

	"varve/eventstore"
)

// Verify recomputes the hash chains of every log of a directory that no server
// uses, or of a database: those of the store, then those of the execution records.
// Beside that it holds signed checkpoints against the store: the error of one that
// does not fit names its log.
func Verify(ctx context.Context, p Place, signed []eventstore.Checkpoint, key eventstore.CheckpointKey) (reports []eventstore.VerifyReport, err error) {
	k, err := p.openToRead(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	for _, part := range []struct {
		store  eventstore.Owner
		prefix eventstore.LogID
	}{{k.log, ""}, {k.executions, "executions "}} {
		if err := eachLog(ctx, part.store, func(log eventstore.LogID) error {
			report, err := eventstore.Verify(ctx, part.store, log)
			if err == nil && report.Records > 0 {
				report.Log = part.prefix + report.Log
				reports = append(reports, report)
			}
			return err
		}); err != nil {
			return reports, err
		}
	}
	for _, c := range signed {
		if err := eventstore.VerifyCheckpoint(ctx, k.log, c, key); err != nil {
			return reports, fmt.Errorf("checkpoint of log %s at position %d: %w", c.Log, c.Position, err)
		}
	}
	return reports, nil
}

// Sign makes a checkpoint of every log of the store. Kept elsewhere, they show later
// that the newest records are missing, or that a log was written anew.
func Sign(ctx context.Context, p Place, key eventstore.CheckpointKey) (signed []eventstore.Checkpoint, err error) {
	k, err := p.openToRead(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	return signed, eachLog(ctx, k.log, func(log eventstore.LogID) error {
		head, err := k.log.LogHead(ctx, log)
		if err != nil || head.Position == 0 {
			return err
		}
		c, err := eventstore.MakeCheckpoint(ctx, k.log, log, key)
		signed = append(signed, c)
		return err
	})
}

func (p Place) openToRead(ctx context.Context) (*kept, error) {
	if err := p.check("--data", "--blobs"); err != nil {
		return nil, err
	}
	return p.open(ctx, opening{source: true})
}

func eachLog(ctx context.Context, s eventstore.Owner, fn func(eventstore.LogID) error) error {
	for shard := range s.Shards() {
		logs, err := s.(eventstore.Importer).Logs(ctx, shard)
		if err != nil {
			return err
		}
		for _, log := range logs {
			if err := fn(log); err != nil {
				return err
			}
		}
	}
	return nil
}
