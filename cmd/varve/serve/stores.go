package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"varve/eventstore"
	"varve/eventstore/blob"
	"varve/eventstore/bus"
	"varve/eventstore/postgres"
	"varve/eventstore/sqlite"
	"varve/eventstore/state"
)

// shared says whether other processes have the same installation: in a directory
// it is this process's alone.
func (c Config) shared() bool { return c.Store != "" }

// openStores opens the log, the execution records and the state: files of the data
// directory, or schemas of the PostgreSQL database that --store names.
func (v *Varve) openStores(ctx context.Context) (err error) {
	where := v.Config.Store
	switch {
	case where == "":
		v.State = state.OpenDirectory(v.dir.path)
		if v.Store, err = sqlite.Open(v.dir.file("log.db"), sqlite.Options{Options: v.attached("log"), Shards: v.Config.Shards}); err == nil {
			v.Executed, err = sqlite.Open(v.dir.file("executions.db"), sqlite.Options{Options: v.attached("executions"), Shards: executionShards})
		}
	case strings.HasPrefix(where, "postgres://"), strings.HasPrefix(where, "postgresql://"):
		kept, failed := postgres.OpenState(ctx, where, postgres.StateOptions{Logger: v.log})
		if failed != nil {
			return failed
		}
		v.State = kept
		if v.Store, err = postgres.Open(ctx, where, postgres.Options{Options: v.attached("log"), Shards: v.Config.Shards}); err == nil {
			v.Executed, err = postgres.Open(ctx, where, postgres.Options{Options: v.attached("executions"), Schema: "varve_executions", Shards: executionShards})
		}
	default:
		err = errors.New("--store names neither nothing (a file in --data) nor a PostgreSQL server: write postgres://user@host/database")
	}
	return err
}

// attached says where a store's big attachments lie: beside the records, or in the
// bucket that --blobs names.
func (v *Varve) attached(scope string) (o eventstore.Options) {
	o.Observe = v.metrics.Committed(scope)
	if v.Config.Blobs != "" {
		o.Blobs = v.Reads.Blobs.Packed(scope)
	}
	return o
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

// relays makes the topics where they do not exist and publishes every record of
// the log, and every execution record, from where it was the last time.
func (v *Varve) relays(ctx context.Context) error {
	kafka, err := bus.ParseURL(v.Config.Bus)
	if err != nil {
		return fmt.Errorf("--bus: %w", err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.stopRelays = stop
	for _, r := range []struct {
		name  string
		store eventstore.Owner
		topic bus.Kafka
	}{{"relay", v.Store, kafka}, {"relay-executions", v.Executed, kafka.Executions()}} {
		most, err := r.topic.Ensure(r.store.Shards())
		if err != nil {
			return fmt.Errorf("--bus: %w", err)
		}
		publisher, err := r.topic.NewPublisher(most)
		if err != nil {
			return fmt.Errorf("--bus: %w", err)
		}
		relay := &bus.Relay{Store: r.store, Publisher: publisher, Name: r.name, State: state.Place{Store: v.State, Consumer: r.name}, Lease: v.State, Logger: v.log,
			Observe: v.published(r.name, r.topic.TopicName())}
		v.Relays = append(v.Relays, relay)
		v.relaying.Go(func() error {
			err := relay.Run(run)
			if err != nil {
				v.log.Error("a relay stands still: records stay in the store and are published after a restart", slog.String("relay", r.name), slog.Any("error", err))
			}
			return errors.Join(err, publisher.Close())
		})
	}
	return nil
}

// feed is where read models and index take records from: Kafka, where the server
// was told so, and what does not come from there from the store; nil: the store.
func (v *Varve) feed(ctx context.Context) (eventstore.Follower, error) {
	if !v.Config.FollowBus {
		return nil, nil
	}
	kafka, err := bus.ParseURL(v.Config.Bus)
	if err != nil {
		return nil, fmt.Errorf("--follow-bus needs --bus: %w", err)
	}
	if v.tail, err = bus.NewTail(v.Store, kafka, bus.TailOptions{Logger: v.log}); err != nil {
		return nil, fmt.Errorf("--follow-bus: %w", err)
	}
	v.following.Go(func() {
		if err := v.tail.Run(ctx); err != nil {
			v.log.Error("Kafka is not followed any more: records come from the database", slog.Any("error", err))
		}
	})
	return v.tail, nil
}

// Followed tells how many records came by Kafka, and how many from the store.
func (v *Varve) Followed() bus.Stats {
	if v.tail == nil {
		return bus.Stats{}
	}
	return v.tail.Stats()
}
