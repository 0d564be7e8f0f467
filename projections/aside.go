package projections

import (
	"context"
	"fmt"
)

// What events say is most of what a fill writes. In PostgreSQL it is written on a
// connection of its own beside the rows, as one COPY keeps one processor of the
// server busy. It is committed before the checkpoint that covers it; what an
// interrupted fill left beyond its checkpoint is deleted when the fill goes on.

// aside writes a history's data; nil writes nothing.
type aside struct {
	h      *history
	tables *tables
	tx     *Tx
	pages  chan []any // nil: nothing was written since the last time
	done   chan error // how the writing ended
}

// asideAhead is how many pages wait for the connection.
const asideAhead = 8

func (a *aside) write(ctx context.Context, data []any) (err error) {
	if len(data) == 0 {
		return nil
	}
	if a.pages == nil {
		if a.tx, err = a.tables.begin(ctx); err != nil {
			return err
		}
		a.pages, a.done = make(chan []any, asideAhead), make(chan error, 1)
		go func(tx *Tx, pages <-chan []any, done chan<- error) {
			for data := range pages {
				if err := a.h.writeData(ctx, tx, data); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}(a.tx, a.pages, a.done)
	}
	select {
	case a.pages <- data:
		return nil
	case err := <-a.done:
		a.pages = nil
		rollback(a.tx)
		return err
	}
}

func (a *aside) settle() error {
	if a == nil || a.pages == nil {
		return nil
	}
	if err := a.end(); err != nil {
		rollback(a.tx)
		return err
	}
	return a.tx.Commit()
}

func (a *aside) drop() {
	if a != nil && a.pages != nil {
		_ = a.end() // nothing of it stays
		rollback(a.tx)
	}
}

// end waits until what was given is written.
func (a *aside) end() error {
	close(a.pages)
	a.pages = nil
	return <-a.done
}

// deleteUnsettled deletes data beyond the checkpoints.
func (h *history) deleteUnsettled(ctx context.Context, tx *Tx) error {
	_, err := tx.ExecContext(ctx, fmt.Sprintf(`DELETE FROM %[1]s_data WHERE NOT EXISTS (
		SELECT 1 FROM varve_checkpoint WHERE shard = %[1]s_data.row >> %[2]d AND feed >= %[1]s_data.row & %[3]d)`, h.table, shardBits, 1<<shardBits-1))
	if err != nil {
		return fmt.Errorf("delete what an interrupted fill left: %w", err)
	}
	return nil
}
