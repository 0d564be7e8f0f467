package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"varve/eventstore"
)

// Source gives what a Publisher keeps.
type Source interface {
	// Entry gives the newest entry of a log, nil where there is none.
	Entry(ctx context.Context, log eventstore.LogID) ([]byte, error)
	// Segment opens a segment that an entry names. The index closes it, and checks
	// what it reads against the digest.
	Segment(ctx context.Context, log eventstore.LogID, digest string) (io.ReadCloser, error)
}

const (
	// A published entry is taken where it saves reading so many records.
	worthFetching = 4096
	// How many segments are fetched at a time.
	fetches = 4
)

// published gives the newest entry of a log, nil where there is none that can be used.
func (x *Index) published(ctx context.Context, log eventstore.LogID) *manifestLog {
	if x.opts.Published == nil {
		return nil
	}
	content, err := x.opts.Published.Entry(ctx, log)
	if err != nil || content == nil {
		x.doubt(err)
		return nil
	}
	e, err := decodeEntry(log, content)
	if err != nil {
		x.doubt(wrap("published entry of log "+string(log), err))
		return nil
	}
	return e
}

// doubt keeps why something published was not used.
func (x *Index) doubt(err error) {
	if err == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.publishedError = err
}

// decodeEntry checks an entry; what it says of segments is checked with these.
func decodeEntry(log eventstore.LogID, content []byte) (*manifestLog, error) {
	m, err := decodeManifest(content)
	if err != nil {
		return nil, err
	}
	if m.Format != partFormat || len(m.Logs) != 1 || m.Logs[0].ID != log {
		return nil, torn("it is not one of this log")
	}
	e := &m.Logs[0]
	for _, s := range e.Segments {
		if sum, err := hex.DecodeString(s.Digest); err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != s.Digest {
			return nil, torn("%q is no digest", s.Digest)
		}
	}
	for id, list := range e.Deleted {
		for _, d := range list {
			if d.Position > e.Applied {
				return nil, torn("collection %s ended at position %d, after %d", id, d.Position, e.Applied)
			}
		}
	}
	return e, nil
}

// adopt gives a log as it was published, if that goes further than what the folder
// has; else, or where something is missing or damaged there, the log as it is.
func (x *Index) adopt(ctx context.Context, l *logIndex, e *manifestLog, upTo uint64) (*logIndex, error) {
	worth := uint64(worthFetching)
	if l.applied == 0 {
		worth = 1
	}
	switch {
	case e == nil || e.Applied < l.applied+worth:
		return l, nil
	case e.Applied > upTo:
		x.doubt(fmt.Errorf("published entry of log %s: it goes up to position %d, the log to %d", l.id, e.Applied, upTo))
		return l, nil
	}
	next, err := x.fetch(ctx, l, e)
	if err != nil {
		x.doubt(wrap("published segments of log "+string(l.id), err))
		return l, errors.Join(ctx.Err(), x.tidy(l))
	}
	l.close()
	if err := x.saveLog(next); err != nil {
		next.close()
		return nil, err
	}
	return next, x.tidy(next)
}

func (x *Index) fetch(ctx context.Context, l *logIndex, e *manifestLog) (*logIndex, error) {
	if _, err := x.makeFolder(l.id); err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, s := range l.segments {
		have[s.digest] = true
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fetches)
	for _, s := range e.Segments {
		if !have[s.Digest] {
			group.Go(func() error { return wrap("segment "+s.Digest, x.fetchSegment(ctx, l.id, s.Digest)) })
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return x.openLog(*e)
}

// fetchSegment writes a segment's file, if its bytes have its digest.
func (x *Index) fetchSegment(ctx context.Context, log eventstore.LogID, digest string) error {
	r, err := x.opts.Published.Segment(ctx, log, digest)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(x.folder(log), ".new-*")
	if err != nil {
		return errors.Join(err, r.Close())
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(untilDone{ctx, f}, sum), r)
	if err = errors.Join(err, r.Close()); err == nil && hex.EncodeToString(sum.Sum(nil)) != digest {
		err = torn("it has another digest")
	}
	return x.finishFile(f, filepath.Join(x.folder(log), digest+segmentSuffix), err)
}
