package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"varve/cmd/varve/serve"
)

type storeCmd struct {
	Copy  storeCopyCmd  `cmd:"" help:"Copy an installation (log, execution records, blobs, state) between a directory and PostgreSQL, either way, and compare the copy. No server may run. Interrupted, it goes on when it is run again."`
	Sweep storeSweepCmd `cmd:"" help:"List the blobs that were put more than a day ago and that no record refers to; with --remove, remove them. No server may run."`
}

type storeSweepCmd struct {
	Store  string `help:"The installation: a directory, or postgres://user@host/database." required:"" env:"VARVE_STORE"`
	Blobs  string `help:"Where its blobs are: a directory, or s3://bucket; empty: in the directory that --store names." env:"VARVE_BLOBS"`
	Remove bool   `help:"Remove them."`
}

// Run lists what nothing refers to, or removes it.
func (c storeSweepCmd) Run(ctx context.Context, o output) error {
	found, swept, err := serve.Sweep(ctx, serve.Place{Store: c.Store, Blobs: c.Blobs}, c.Remove)
	if err != nil {
		return fmt.Errorf("store sweep: %w", err)
	}
	bytes := int64(0)
	for _, u := range found {
		bytes += u.Bytes
	}
	return o.print(map[string]any{"unreferenced": found, "bytes": bytes, "removed": swept.Blobs, "removed_bytes": swept.Bytes, "leftovers": swept.Leftovers}, func(w io.Writer) {
		for _, u := range found {
			fmt.Fprintf(w, "%s %s %d bytes\n", u.Scope, u.Digest, u.Bytes)
		}
		if c.Remove {
			fmt.Fprintf(w, "removed %d blobs (%d bytes) and %d unfinished files\n", swept.Blobs, swept.Bytes, swept.Leftovers)
			return
		}
		fmt.Fprintf(w, "no record refers to %d blobs (%d bytes) that were put more than a day ago; --remove removes them\n", len(found), bytes)
	})
}

type storeCopyCmd struct {
	From      string `help:"What to copy: a directory, or postgres://user@host/database." required:""`
	To        string `help:"Where to: a directory, or postgres://user@host/database; empty, or what an interrupted copy left." required:""`
	FromBlobs string `help:"Where its blobs are: a directory, or s3://bucket; empty: in the directory that --from names."`
	ToBlobs   string `help:"Where they go: a directory, or s3://bucket; empty: into the directory that --to names."`
}

// Run copies and says what was copied, how fast, and that it is the same.
func (c storeCopyCmd) Run(ctx context.Context, o output) error {
	began := time.Now()
	bars := stepBars{o: o}
	done, err := serve.Copy(ctx, serve.Place{Store: c.From, Blobs: c.FromBlobs}, serve.Place{Store: c.To, Blobs: c.ToBlobs}, bars.progress)
	bars.finish()
	if err != nil {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			return errors.New("interrupted: run it again, and it goes on from here")
		}
		return fmt.Errorf("store copy: %w", err)
	}
	took := time.Since(began)
	return o.print(struct {
		serve.Copied
		Equal   bool    `json:"equal"`
		Seconds float64 `json:"seconds"`
	}{done, true, took.Seconds()}, func(w io.Writer) {
		fmt.Fprintf(w, "%d records, %d execution records and %d blobs (%d bytes) are in the target, compared with the source and equal: every log has the same hash. %s (%.0f records/s)\n",
			done.Records, done.Executions, done.Blobs, done.Bytes, took.Round(time.Millisecond), float64(done.Records+done.Executions)/took.Seconds())
	})
}

// stepBars shows one bar after another, one for each step of a copy.
type stepBars struct {
	o    output
	mu   sync.Mutex
	step string
	bar  *progressbar.ProgressBar
}

func (b *stepBars) progress(step string, done, total uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.step != step {
		if b.bar != nil {
			_ = b.bar.Finish()
		}
		b.step, b.bar = step, progress(b.o, int(total), step)
	}
	_ = b.bar.Set64(int64(done))
}

func (b *stepBars) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}
