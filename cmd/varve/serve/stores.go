package serve

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"varve/eventstore"
	"varve/eventstore/blob"
	"varve/eventstore/bus"
	"varve/eventstore/postgres"
	"varve/eventstore/sqlite"
)

// openStore opens the log or the execution records: a file of the data
// directory, or a schema of the PostgreSQL database that --store names. Big
// attachments lie beside the records, or in the bucket that --blobs names.
func (v *Varve) openStore(ctx context.Context, file, schema string) (eventstore.Owner, error) {
	var options eventstore.Options
	if v.Config.Blobs != "" {
		options.Blobs = v.Reads.Blobs.Packed(strings.TrimSuffix(file, ".db"))
	}
	switch where := v.Config.Store; {
	case where == "":
		return sqlite.Open(v.dir.file(file), sqlite.Options{Options: options})
	case strings.HasPrefix(where, "postgres://"), strings.HasPrefix(where, "postgresql://"):
		return postgres.Open(ctx, where, postgres.Options{Options: options, Schema: schema})
	}
	return nil, fmt.Errorf("--store names neither nothing (a file in --data) nor a PostgreSQL server: write postgres://user@host/database")
}

// openBlobs opens what holds bytes too large for the log: the data directory, or
// the bucket that --blobs names.
func (v *Varve) openBlobs(ctx context.Context) (*blob.Store, error) {
	if where := v.Config.Blobs; where != "" {
		if !strings.HasPrefix(where, "s3://") {
			return nil, fmt.Errorf("--blobs names neither nothing (files in --data) nor a bucket: write s3://bucket")
		}
		store, err := blob.Open(ctx, where, blob.Options{})
		if err != nil {
			return nil, fmt.Errorf("--blobs: %w", err)
		}
		return store, nil
	}
	if err := os.MkdirAll(v.dir.file("blobs"), 0o700); err != nil {
		return nil, fmt.Errorf("make blob directory: %w", err)
	}
	return blob.Open(ctx, v.dir.file("blobs"), blob.Options{})
}

// relay makes the topic where it does not exist and publishes every record of
// the log to it, from where it was the last time.
func (v *Varve) relay(ctx context.Context) error {
	kafka, err := bus.ParseURL(v.Config.Bus)
	if err != nil {
		return fmt.Errorf("--bus: %w", err)
	}
	most, err := kafka.Ensure(v.Store.Shards())
	if err != nil {
		return fmt.Errorf("--bus: %w", err)
	}
	places := v.dir.file("relay")
	if err := os.MkdirAll(places, 0o700); err != nil {
		return fmt.Errorf("make directory of the relay: %w", err)
	}
	state, err := bus.OpenDirectory(places)
	if err != nil {
		return err
	}
	if v.publisher, err = kafka.NewPublisher(most); err != nil {
		return fmt.Errorf("--bus: %w", err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	relay := &bus.Relay{Store: v.Store, Publisher: v.publisher, State: state, Logger: v.log}
	v.stopRelay, v.relayed = stop, make(chan error, 1)
	go func() {
		err := relay.Run(run)
		if err != nil {
			v.log.Error("the relay stands still: records stay in the store and are published after a restart", slog.Any("error", err))
		}
		v.relayed <- err
	}()
	return nil
}
