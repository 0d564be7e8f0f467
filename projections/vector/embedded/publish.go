package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"varve/eventstore"
)

// Publisher keeps segments and entries of logs where other processes find them. An
// entry names the segments that make a log up to a position, and ends with its own
// checksum; both are bytes to whoever keeps them.
type Publisher interface {
	// HasSegment says whether a log's segment of a digest (SHA-256, hexadecimal) is kept.
	HasSegment(ctx context.Context, log eventstore.LogID, digest string) (bool, error)
	// PutSegment keeps a segment; putting it again changes nothing.
	PutSegment(ctx context.Context, log eventstore.LogID, digest string, size int64, r io.Reader) error
	// PutEntry makes an entry the newest of its log. What it names was put before.
	PutEntry(ctx context.Context, log eventstore.LogID, position uint64, entry []byte) error
}

// Published says what Publish did.
type Published struct {
	Position uint64   // up to which the segments hold the log
	Segments []string // digests; what else was published of the log can be removed, once nobody reads it
	Put      int      // how many of them were not there
	Bytes    int64    // of those
}

var errErased = errors.New("records were erased from it meanwhile, or it left memory: publish again")

// Publish makes a log's segments, and a head of some size, available to the indexes of
// other processes (Options.Published). A log that the index does not hold is loaded. Two
// calls for one log come one after the other.
//
// Whoever erases records withdraws the entry first, then erases from each index, and
// publishes again: what is published knows of no erasure.
func (x *Index) Publish(ctx context.Context, log eventstore.LogID, to Publisher) (Published, error) {
	p, err := x.publishLog(ctx, log, to)
	return p, wrap("publish log "+string(log), err)
}

func (x *Index) publishLog(ctx context.Context, log eventstore.LogID, to Publisher) (p Published, err error) {
	use, err := x.View(ctx, log, 0) // so that it is held, and stays
	if err != nil {
		return p, err
	}
	defer use.Close()
	l := use.(*view).of
	if l == nil {
		return p, nil // there is nothing
	}
	entry, segments, erasures, err := x.exported(l)
	defer func() {
		for _, s := range segments {
			s.release()
		}
	}()
	if err != nil {
		return p, err
	}
	p.Position = entry.Applied
	for _, s := range segments {
		p.Segments = append(p.Segments, s.digest)
		has, err := to.HasSegment(ctx, log, s.digest)
		if err == nil && !has {
			p.Put++
			p.Bytes += int64(len(s.data))
			err = x.putSegment(ctx, log, s, to)
		}
		if err != nil {
			return p, err
		}
	}
	content, err := manifest{Format: partFormat, Logs: []manifestLog{entry}}.encode()
	if err != nil {
		return p, err
	}
	x.mergeLock.Lock() // nobody erases while the entry is put
	defer x.mergeLock.Unlock()
	if l.erasures.Load() != erasures || x.log(log) != l {
		return p, errErased
	}
	return p, to.PutEntry(ctx, log, entry.Applied, content)
}

// exported gives a log's entry and its segments, held.
func (x *Index) exported(l *logIndex) (manifestLog, []*segment, int64, error) {
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.log(l.id) != l {
		return manifestLog{}, nil, 0, fmt.Errorf("%w: publish again", errUnloaded)
	}
	if l.head.count() >= worthSealing {
		err := x.seal(l)
		if err == nil {
			err = x.save()
		}
		if err != nil {
			return manifestLog{}, nil, 0, err
		}
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.entry(), held(append([]*segment(nil), l.segments...)), l.erasures.Load(), nil
}

// putSegment reads the file: a mapping would take memory, page by page. A segment that
// was merged away meanwhile has none, but still its mapping.
func (x *Index) putSegment(ctx context.Context, log eventstore.LogID, s *segment, to Publisher) error {
	f, err := os.Open(x.segmentPath(log, s.digest))
	if errors.Is(err, os.ErrNotExist) {
		return to.PutSegment(ctx, log, s.digest, int64(len(s.data)), bytes.NewReader(s.data))
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return to.PutSegment(ctx, log, s.digest, int64(len(s.data)), f)
}
