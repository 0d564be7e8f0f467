package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"varve/eventstore"
	"varve/eventstore/blob"
	"varve/eventstore/postgres"
	"varve/eventstore/sqlite"
	"varve/eventstore/state"
)

// Place says where an installation is kept.
type Place struct {
	Store string // its directory, or a PostgreSQL server (postgres://…)
	Blobs string // a directory or s3://bucket; "": the folder blobs of the directory
}

func isPostgres(where string) bool {
	return strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://")
}

// check says what of a place cannot be; words are the flags that name it.
func (p Place) check(storeFlag, blobsFlag string) error {
	switch {
	case !isPostgres(p.Store) && strings.Contains(p.Store, "://"):
		return fmt.Errorf("%s names neither a directory nor a PostgreSQL server: write a path, or postgres://user@host/database", storeFlag)
	case isPostgres(p.Store) && p.Blobs == "":
		return fmt.Errorf("%s is a PostgreSQL server, which holds no blobs: name where they are with %s, a directory (the folder blobs of the servers' --data) or s3://bucket", storeFlag, blobsFlag)
	case strings.Contains(p.Blobs, "://") && !strings.HasPrefix(p.Blobs, "s3://"):
		return fmt.Errorf("%s names neither a directory nor a bucket: write a path, or s3://bucket", blobsFlag)
	}
	return nil
}

// kept is an installation without a server.
type kept struct {
	dir        *directory // nil in PostgreSQL
	blobs      *blob.Store
	log        eventstore.Owner
	executions eventstore.Owner
	state      state.Store
}

// opening says what a place is opened for.
type opening struct {
	source         bool // it must exist, and its blobs are not written
	alone          bool // no other process may have it; of a directory never
	log, execution int  // shards of stores that are made
}

// open locks a directory and opens everything of a place.
func (p Place) open(ctx context.Context, o opening) (k *kept, err error) {
	k = &kept{}
	opened := k
	defer func() {
		if err != nil {
			_ = opened.close()
		}
	}()
	blobs := p.Blobs
	if !isPostgres(p.Store) {
		if _, err := os.Stat(filepath.Join(p.Store, "log.db")); o.source && err != nil {
			return nil, fmt.Errorf("%s holds no log: name the directory of a server", p.Store)
		}
		if k.dir, err = lock(p.Store); err != nil {
			return nil, err
		}
		if blobs == "" {
			blobs = k.dir.file("blobs")
		}
	}
	if k.blobs, err = blob.Open(ctx, blobs, blob.Options{ReadOnly: o.source}); err != nil {
		return nil, err
	}
	attached := func(scope string) (options eventstore.Options) {
		if o.source || strings.HasPrefix(p.Blobs, "s3://") { // of a source they may lie in either place
			options.Blobs = k.blobs.Packed(scope)
		}
		return options
	}
	if k.dir != nil {
		k.state = state.OpenDirectory(k.dir.path)
		if _, err := os.Stat(k.dir.file("executions.db")); o.execution == 0 && errors.Is(err, fs.ErrNotExist) {
			o.execution = executionShards
		}
	} else {
		shared, err := postgres.OpenState(ctx, p.Store, postgres.StateOptions{})
		if err != nil {
			return nil, err
		}
		k.state = shared
		if o.alone {
			if err := alone(ctx, shared); err != nil {
				return nil, err
			}
		}
	}
	one := func(file, schema string, shards int) (eventstore.Owner, error) {
		options := attached(strings.TrimSuffix(file, ".db"))
		if k.dir != nil {
			return sqlite.Open(k.dir.file(file), sqlite.Options{Options: options, Shards: shards})
		}
		return postgres.Open(ctx, p.Store, postgres.Options{Options: options, Schema: schema, Shards: shards})
	}
	if k.log, err = one("log.db", "varve", o.log); err != nil {
		return nil, err
	}
	if n, err := heads(ctx, k.log); o.source && err == nil && n == 0 {
		return nil, errors.New("there is no record in it: name the directory or the database of a server")
	}
	k.executions, err = one("executions.db", "varve_executions", o.execution)
	return k, err
}

// alone waits as long as a process that was killed is believed to live, and then
// refuses while others have the installation.
func alone(ctx context.Context, s *postgres.State) error {
	n, err := s.Others(ctx)
	if err == nil && n > 0 {
		return fmt.Errorf("%d other varve processes have the installation in PostgreSQL open: stop them first", n)
	}
	return err
}

func (k *kept) close() error {
	var errs []error
	if k.executions != nil {
		errs = append(errs, k.executions.Close())
	}
	if k.log != nil {
		errs = append(errs, k.log.Close())
	}
	if k.state != nil {
		errs = append(errs, k.state.Close())
	}
	if k.blobs != nil {
		errs = append(errs, k.blobs.Close())
	}
	if k.dir != nil {
		errs = append(errs, k.dir.release())
	}
	return errors.Join(errs...)
}

// Copied says what Copy moved or found there already.
type Copied struct {
	Records    uint64 `json:"records"`
	Executions uint64 `json:"executions"`
	Blobs      int    `json:"blobs"`
	Bytes      int64  `json:"blob_bytes"`
	There      int    `json:"blobs_there_already"`
}

// Progress is told how far a step of Copy is: "log", "executions", "blobs",
// "compare log", "compare executions".
type Progress func(step string, done, total uint64)

// Copy moves an installation: log, execution records, blobs and, last, its state,
// so that nobody's key works on a target that is not whole. Everything is compared
// before that. Interrupted at any point, it goes on where it ended. No server may
// run on either side; a target that holds another installation is left alone.
func Copy(ctx context.Context, from, to Place, progress Progress) (done Copied, err error) {
	if err := errors.Join(from.check("--from", "--from-blobs"), to.check("--to", "--to-blobs")); err != nil {
		return done, err
	}
	if from.Store == to.Store || !isPostgres(from.Store) && !isPostgres(to.Store) && filepath.Clean(from.Store) == filepath.Clean(to.Store) {
		return done, errors.New("--from and --to are the same: name another target")
	}
	src, err := from.open(ctx, opening{source: true, alone: true})
	if err != nil {
		return done, fmt.Errorf("--from: %w", err)
	}
	defer func() { err = errors.Join(err, src.close()) }()
	dst, err := to.open(ctx, opening{alone: true, log: src.log.Shards(), execution: src.executions.Shards()})
	if err != nil {
		return done, fmt.Errorf("--to: %w", err)
	}
	defer func() { err = errors.Join(err, dst.close()) }()
	for _, part := range []struct {
		name     string
		from, to eventstore.Owner
		records  *uint64
	}{{"log", src.log, dst.log, &done.Records}, {"executions", src.executions, dst.executions, &done.Executions}} {
		if *part.records, err = heads(ctx, part.from); err != nil {
			return done, err
		}
		if err := eventstore.Copy(ctx, part.from, part.to, summed(part.from.Shards(), *part.records, part.name, progress)); err != nil {
			return done, fmt.Errorf("copy the %s: %w", part.name, err)
		}
	}
	if err := copyBlobs(ctx, src.blobs, dst.blobs, from.Blobs != "" && from.Blobs == to.Blobs, &done, progress); err != nil {
		return done, err
	}
	if err := eventstore.Compare(ctx, src.log, dst.log, summed(src.log.Shards(), done.Records, "compare log", progress)); err != nil {
		return done, fmt.Errorf("the log: %w", err)
	}
	if err := eventstore.Compare(ctx, src.executions, dst.executions, summed(src.executions.Shards(), done.Executions, "compare executions", progress)); err != nil {
		return done, fmt.Errorf("the execution records: %w", err)
	}
	return done, copyState(ctx, src.state, dst.state)
}

func heads(ctx context.Context, s eventstore.Owner) (n uint64, err error) {
	for shard := range s.Shards() {
		head, err := s.Head(ctx, shard)
		if err != nil {
			return n, err
		}
		n += head
	}
	return n, nil
}

// summed adds up what the shards are done with.
func summed(shards int, total uint64, step string, progress Progress) func(int, uint64, uint64) {
	each := make([]uint64, shards)
	return func(shard int, done, _ uint64) {
		each[shard] = done
		sum := uint64(0)
		for _, n := range each {
			sum += n
		}
		progress(step, sum, total)
	}
}

// packedScopes hold big attachments. They go with their records, which the target
// packs anew.
var packedScopes = map[string]bool{"log": true, "executions": true}

// blobsAtOnce is how many blobs are copied at once.
const blobsAtOnce = 8

// copyBlobs copies what the target does not have whole, and reads all of it there.
func copyBlobs(ctx context.Context, from, to *blob.Store, same bool, done *Copied, progress Progress) error {
	type found struct {
		scope string
		ref   blob.Ref
	}
	var all []found
	if err := from.Each(ctx, func(scope string, ref blob.Ref) error {
		if !packedScopes[scope] {
			all = append(all, found{scope, ref})
			done.Bytes += ref.Size
		}
		return nil
	}); err != nil {
		return fmt.Errorf("copy blobs: %w", err)
	}
	done.Blobs = len(all)
	var finished, there atomic.Int64
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(blobsAtOnce)
	for _, b := range all {
		if running.Err() != nil {
			break
		}
		group.Go(func() error {
			err := to.Verify(running, b.scope, b.ref.Digest)
			switch {
			case err == nil:
				there.Add(1)
			case !same && (errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrDamaged)):
				if err = copyBlob(running, from, to, b.scope, b.ref); err == nil {
					err = to.Verify(running, b.scope, b.ref.Digest)
				}
			}
			if err != nil {
				return fmt.Errorf("copy blob %s of %s: %w", b.ref.Digest, b.scope, err)
			}
			progress("blobs", uint64(finished.Add(1)), uint64(len(all)))
			return nil
		})
	}
	err := group.Wait()
	done.There = int(there.Load())
	return err
}

func copyBlob(ctx context.Context, from, to *blob.Store, scope string, want blob.Ref) error {
	r, err := from.Get(ctx, scope, want.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = to.Put(ctx, scope, r) // r ends with ErrDamaged where its bytes are not those of the digest
	return err
}

// copyState moves secrets and the places of consumers, and reads the secrets back.
func copyState(ctx context.Context, from, to state.Store) error {
	moved, err := from.Export(ctx)
	if err != nil {
		return fmt.Errorf("copy the state: %w", err)
	}
	if err := to.Import(ctx, moved); err != nil {
		return fmt.Errorf("copy the state: %w", err)
	}
	have, err := to.Export(ctx)
	if err != nil {
		return fmt.Errorf("copy the state: %w", err)
	}
	for name, secret := range moved.Secrets {
		if !bytes.Equal(have.Secrets[name], secret) {
			return fmt.Errorf("copy the state: the target does not keep the secret %s", name)
		}
	}
	return nil
}
