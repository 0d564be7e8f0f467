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
	if opts.OnDemand && (opts.Prefix == nil || opts.Head == nil) {
		return nil, errors.New("open the index: on demand it needs Prefix and Head, by which logs are loaded")
	}
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
		if err = nil; !opts.OnDemand { // then only places are lost, and each log has its own manifest
			err = x.clear()
		}
	}
	if err != nil {
		return nil, wrap("open the index", err)
	}
	if opts.OnDemand {
		err = x.census()
	} else {
		err = x.sweep()
	}
	return x, wrap("open the index", err)
}

func (x *Index) empty() {
	for _, l := range x.logs {
		l.close()
	}
	x.logs, x.away, x.feeds = map[eventstore.LogID]*logIndex{}, map[eventstore.LogID]*away{}, map[int]uint64{}
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
	if x.opts.OnDemand {
		return x.spread(m)
	}
	if m.Format != manifestFormat {
		return torn("the index was on demand and does not hold all logs")
	}
	for _, saved := range m.Logs {
		l, err := x.openLog(saved)
		if err != nil {
			return err
		}
		x.logs[saved.ID] = l
	}
	return nil
}

// openLog maps the segments of a log.
func (x *Index) openLog(saved manifestLog) (*logIndex, error) {
	l := x.newLog(saved.ID, saved.Shard)
	l.applied, l.saved = saved.Applied, saved.Applied
	if saved.Deleted != nil {
		l.deleted = saved.Deleted
	}
	if err := x.openSegments(l, saved); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (x *Index) openSegments(l *logIndex, saved manifestLog) error {
	for _, one := range saved.Segments {
		s, err := x.openSegment(saved.ID, one.Digest)
		if err != nil {
			return err
		}
		l.segments = append(l.segments, s)
		if s.meta.Last > saved.Applied {
			return torn("segment %s goes up to position %d, its log to %d", one.Digest, s.meta.Last, saved.Applied)
		}
		if err := s.unpackEnds(one.Ends, saved.Applied); err != nil {
			return err
		}
		forget(s.data)
	}
	return nil
}

// close lets go of the segments and the head. Views keep what they read.
func (l *logIndex) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		s.release()
	}
	l.segments = nil
	l.bytes.Add(-l.head.bytes)
	l.head = newHead()
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
	x.segmentBytes.Add(s.heap())
	s.drop = func() {
		x.cache.drop(s.name)
		x.segmentBytes.Add(-s.heap())
	}
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

// Close ends loads and a merge, waits for what else is under way, and lets go of the files, without flushing.
// Views that are open stay usable. Closing twice changes nothing.
func (x *Index) Close() error {
	x.end()
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.work.Wait()
	x.mergeLock.Lock()
	defer x.mergeLock.Unlock()
	x.apply.Lock()
	defer x.apply.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, l := range x.logs {
		l.close()
	}
	return nil
}
