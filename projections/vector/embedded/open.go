package embedded

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"varve/eventstore"
)

// Open opens the index in a folder, which it makes if there is none. What was not
// flushed is missing: records after Applied are to be given to Apply again. An
// index of which a piece is missing or damaged is emptied, so that Applied is 0
// for every shard and the feed fills it anew; an error is one of the disk.
func Open(dir string, opts Options) (*Index, error) {
	opts = opts.withDefaults()
	x := &Index{dir: dir, opts: opts, cache: newCache(opts.CacheBytes)}
	x.life, x.end = context.WithCancel(context.Background())
	x.empty()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, wrap("open the index", err)
	}
	m, err := loadManifest(dir)
	if err == nil && m != nil {
		err = x.load(m)
	}
	if errors.Is(err, errTorn) || errors.Is(err, fs.ErrNotExist) {
		x.damage = err
		x.empty()
		err = x.clear()
	}
	if err != nil {
		return nil, wrap("open the index", err)
	}
	return x, wrap("open the index", x.sweep())
}

func (x *Index) empty() {
	for _, l := range x.logs {
		for _, s := range l.segments {
			s.release()
		}
	}
	x.logs, x.feeds = map[eventstore.LogID]*logIndex{}, map[int]uint64{}
}

// load maps what the manifest names.
func (x *Index) load(m *manifest) error {
	for shard, feed := range m.Feeds {
		n, err := strconv.Atoi(shard)
		if err != nil {
			return torn("shard %q", shard)
		}
		x.feeds[n] = feed
	}
	for _, saved := range m.Logs {
		l := &logIndex{id: saved.ID, shard: saved.Shard, applied: saved.Applied, deleted: saved.Deleted, head: newHead()}
		if l.deleted == nil {
			l.deleted = map[string][]deletion{}
		}
		x.logs[saved.ID] = l
		for _, one := range saved.Segments {
			s, err := x.openSegment(saved.ID, one.Digest)
			if err != nil {
				return err
			}
			l.segments = append(l.segments, s)
			if err := s.unpackEnds(one.Ends); err != nil {
				return err
			}
			forget(s.data)
		}
	}
	return nil
}

// openSegment maps a segment's file.
func (x *Index) openSegment(log eventstore.LogID, digest string) (*segment, error) {
	data, unmap, err := mapFile(x.segmentPath(log, digest))
	if err != nil {
		return nil, err
	}
	s, err := readSegment(data, x.opts.Verify)
	if err != nil {
		unmap()
		return nil, wrap("segment "+digest, err)
	}
	s.digest, s.unmap = digest, unmap
	s.drop = func() { x.cache.drop(s.name) }
	return s, nil
}

// A log's segments lie in a folder of its own, named so that neither case nor
// slashes of ids matter.
func (x *Index) folder(log eventstore.LogID) string {
	return filepath.Join(x.dir, "log-"+hex.EncodeToString([]byte(log)))
}

func (x *Index) segmentPath(log eventstore.LogID, digest string) string {
	return filepath.Join(x.folder(log), digest+segmentSuffix)
}

// clear removes everything from the folder.
func (x *Index) clear() error {
	entries, err := os.ReadDir(x.dir)
	if err != nil {
		return err
	}
	// The manifest first: without it nothing else is read.
	err = os.Remove(filepath.Join(x.dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, e := range entries {
		if ours(e) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(x.dir, e.Name())))
		}
	}
	return err
}

func ours(e fs.DirEntry) bool {
	return strings.HasPrefix(e.Name(), "log-") || strings.HasPrefix(e.Name(), ".new-")
}

// sweep removes files that the index does not name: what a crash left.
func (x *Index) sweep() error {
	named := map[string]bool{}
	for id, l := range x.logs {
		for _, s := range l.segments {
			named[x.segmentPath(id, s.digest)] = true
		}
	}
	entries, err := os.ReadDir(x.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(x.dir, e.Name())
		switch {
		case !ours(e):
		case !e.IsDir():
			err = errors.Join(err, os.Remove(path))
		default:
			files, readErr := os.ReadDir(path)
			err = errors.Join(err, readErr)
			for _, f := range files {
				if file := filepath.Join(path, f.Name()); !named[file] {
					err = errors.Join(err, os.Remove(file))
				}
			}
		}
	}
	return err
}

// Damage says why Open emptied the index, nil where it did not.
func (x *Index) Damage() error { return x.damage }

// Close ends a merge, waits for what else is under way, and lets go of the files, without flushing.
// Views that are open stay usable. Closing twice changes nothing.
func (x *Index) Close() error {
	x.end()
	x.mergeLock.Lock()
	defer x.mergeLock.Unlock()
	x.apply.Lock()
	defer x.apply.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.closed {
		x.closed = true
		for _, l := range x.logs {
			l.mu.Lock()
			for _, s := range l.segments {
				s.release()
			}
			l.segments = nil
			l.mu.Unlock()
		}
	}
	return nil
}
