package embedded

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"varve/eventstore"
)

// away is what is known of a log that an index on demand does not hold.
type away struct {
	seen uint64 // its newest position that was applied; 0 where that is not known
	load *load  // under way; who changes its files in place of a load is one too

	used            int64 // as in logIndex
	rows, documents int   // when it left
	disk            int64 // bytes of its segments in the folder
	fresh           bool  // its folder was not looked into since Open
}

// How many logs that are not held are remembered, beyond those that have something
// in the folder. Of others Head tells where they are.
const maxAway = 1 << 16

// Heads of fewer rows do not become segments when a log leaves memory: the log is
// read again from there.
const worthSealing = 256

// note moves a log's place, and the shard's. It gives the log where it is held and to
// be given the records. x.apply is held.
func (x *Index) note(shard int, run []eventstore.Record) *logIndex {
	last := run[len(run)-1]
	x.noted += uint64(len(run))
	x.mu.Lock()
	l := x.logs[last.Log]
	if l != nil && gap(l.applied, run) {
		// What is missing is read when it is asked for again.
		x.unload(l)
		l = nil
	}
	if l != nil {
		x.mu.Unlock()
		return l
	}
	defer x.mu.Unlock()
	x.feeds[shard] = max(x.feeds[shard], last.Feed)
	a := x.away[last.Log]
	if a == nil {
		a = x.remember(last.Log)
	}
	a.seen = max(a.seen, last.Position)
	if a.load != nil {
		a.load.wait(run)
	}
	return nil
}

// gap says whether records are missing between a position and those of the run.
func gap(applied uint64, run []eventstore.Record) bool {
	for i := range run {
		if run[i].Position > applied+1 {
			return true
		}
		applied = max(applied, run[i].Position)
	}
	return false
}

// remember makes an entry for a log that is not held. x.mu is held.
func (x *Index) remember(log eventstore.LogID) *away {
	if len(x.away) >= maxAway {
		for id, a := range x.away { // some, not all
			if a.load == nil && a.disk == 0 {
				delete(x.away, id)
			}
			if len(x.away) < maxAway-maxAway/8 {
				break
			}
		}
	}
	a := &away{}
	x.away[log] = a
	return a
}

// Skip moves the place of a shard that nothing was applied of since Open to a feed
// position at which the store is, or was: an index on demand need not follow what it
// can read. It comes before the first View; a place never moves back.
func (x *Index) Skip(shard int, feed uint64) error {
	x.apply.Lock()
	defer x.apply.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.closed:
		return errClosed
	case !x.opts.OnDemand:
		return fmt.Errorf("skip records of shard %d: an index that is not on demand needs them all", shard)
	case len(x.logs) > 0 || x.loading.Load() > 0:
		return fmt.Errorf("skip records of shard %d: logs are held already; skip before the first view", shard)
	}
	x.feeds[shard] = max(x.feeds[shard], feed)
	for _, a := range x.away {
		a.seen = 0
	}
	return nil
}

// saveLogs writes the manifests of logs whose segments changed, and, now and then, the
// places of the shards. x.apply is held.
func (x *Index) saveLogs() error {
	for _, l := range x.all() {
		if l.unsaved || l.durable() >= l.saved+maxTail {
			if err := x.saveLog(l); err != nil {
				return err
			}
		}
	}
	if x.noted < maxTail {
		return nil
	}
	m := manifest{Format: partFormat, Feeds: map[string]uint64{}}
	x.mu.RLock()
	for shard, feed := range x.feeds {
		m.Feeds[strconv.Itoa(shard)] = feed
	}
	x.mu.RUnlock()
	if err := x.writeManifest(x.dir, m); err != nil {
		return err
	}
	x.noted = 0
	return nil
}

// saveLog writes the manifest of one log. x.apply is held, unless nobody else knows
// the log yet.
func (x *Index) saveLog(l *logIndex) error {
	if _, err := x.makeFolder(l.id); err != nil {
		return wrap("save log "+string(l.id), err)
	}
	e := l.entry()
	if err := x.writeManifest(x.folder(l.id), manifest{Format: partFormat, Logs: []manifestLog{e}}); err != nil {
		return wrap("save log "+string(l.id), err)
	}
	l.saved, l.unsaved = e.Applied, false
	return nil
}

// spread gives each log of a manifest of all logs its own: the index was not on
// demand before.
func (x *Index) spread(m *manifest) error {
	if m.Format == partFormat {
		return nil
	}
	for _, saved := range m.Logs {
		if len(saved.Segments) == 0 {
			continue
		}
		if err := x.writeManifest(x.folder(saved.ID), manifest{Format: partFormat, Logs: []manifestLog{saved}}); err != nil {
			return err
		}
	}
	return x.writeManifest(x.dir, manifest{Format: partFormat, Feeds: m.Feeds})
}

// census finds out what the folder has of which logs, and removes what a crash left
// half written.
func (x *Index) census() error {
	entries, err := os.ReadDir(x.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(x.dir, e.Name())
		switch id, err := hex.DecodeString(strings.TrimPrefix(e.Name(), "log-")); {
		case !ours(e):
		case !e.IsDir() || err != nil:
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		default:
			x.away[eventstore.LogID(id)] = &away{disk: diskOf(path), fresh: true}
		}
	}
	return nil
}

func diskOf(folder string) (bytes int64) {
	files, err := os.ReadDir(folder)
	if err != nil {
		return 0
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil && strings.HasSuffix(f.Name(), segmentSuffix) {
			bytes += info.Size()
		}
	}
	return bytes
}

// restore gives a log as far as the folder has it, empty where it has nothing.
// What is damaged there is removed. fresh: nobody looked into it since Open.
func (x *Index) restore(log eventstore.LogID, fresh bool) (*logIndex, error) {
	m, err := loadManifest(x.folder(log))
	var l *logIndex
	switch {
	case err == nil && m == nil:
		l = x.newLog(log, 0)
	case err == nil && (len(m.Logs) != 1 || m.Logs[0].ID != log):
		err = torn("the manifest is not that of log %s", log)
	case err == nil:
		l, err = x.openLog(m.Logs[0])
	}
	if errors.Is(err, errTorn) || errors.Is(err, os.ErrNotExist) {
		return x.newLog(log, 0), os.RemoveAll(x.folder(log))
	}
	if err == nil && fresh {
		err = x.tidy(l)
	}
	return l, err
}

// tidy removes files of a log that it does not name.
func (x *Index) tidy(l *logIndex) error {
	files, err := os.ReadDir(x.folder(l.id))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	named := map[string]bool{manifestFile: true}
	for _, s := range l.segments {
		named[s.digest+segmentSuffix] = true
	}
	for _, f := range files {
		if !named[f.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(x.folder(l.id), f.Name())))
		}
	}
	return err
}

// hold waits for the load of a log that is under way, if there is one, or ends it, and
// lets none begin until it is let go of.
func (x *Index) hold(ctx context.Context, log eventstore.LogID, end bool) (release func(), err error) {
	for {
		x.mu.Lock()
		a := x.away[log]
		if a == nil {
			a = x.remember(log)
		}
		w := a.load
		if w == nil {
			mine := &load{done: make(chan struct{}), stop: func() {}, idle: true}
			a.load = mine
			x.mu.Unlock()
			return func() {
				x.mu.Lock()
				defer x.mu.Unlock()
				if x.away[log] == a {
					a.load = nil
				}
				close(mine.done)
			}, nil
		}
		x.mu.Unlock()
		if end {
			w.stop()
		}
		select {
		case <-w.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
