package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

func (s *store) References(ctx context.Context, shard int, fn func(data json.RawMessage, blob string) error) error {
	for after := uint64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		rows, more, err := s.engine.ReadFeed(ctx, shard, after, pageRows)
		if cut := (*TruncatedError)(nil); errors.As(err, &cut) && cut.First > after+1 {
			after = cut.First - 1
			continue
		}
		if err != nil {
			return fmt.Errorf("read references: %w", s.readError(err))
		}
		for i := range rows {
			blob := ""
			if packed := rows[i].Packed; len(packed) > 0 && packed[0] == inBlobs {
				p, err := parsePacked(packed)
				if err != nil {
					return &DamagedError{rows[i].Position, rows[i].Feed, err}
				}
				blob = p.ref
			}
			if err := fn(rows[i].Data, blob); err != nil {
				return err
			}
			after = rows[i].Feed
		}
		if !more {
			return nil
		}
	}
}
