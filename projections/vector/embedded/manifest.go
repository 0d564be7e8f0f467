package embedded

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"sync/atomic"

	"varve/eventstore"
)

// manifest is what a restart finds: which segments there are, when their rows
// end, and how far the feed was taken into them. Its file holds the SHA-256 of the
// rest in hexadecimal, a newline, and JSON; it is replaced by renaming. What
// a manifest names was synced before.
//
// An index that is OnDemand has one of feeds alone, and in each log's folder one of
// that log alone, so that what it does not hold need not be read or written. The
// latter is what is published too.
type manifest struct {
	Format int               `json:"format"`
	Feeds  map[string]uint64 `json:"feeds,omitempty"` // by shard
	Logs   []manifestLog     `json:"logs,omitempty"`
}

type manifestLog struct {
	ID       eventstore.LogID      `json:"id"`
	Shard    int                   `json:"shard"`
	Applied  uint64                `json:"applied"` // records up to here are in the segments
	Deleted  map[string][]deletion `json:"deleted,omitempty"`
	Segments []manifestSegment     `json:"segments,omitempty"`
}

type manifestSegment struct {
	Digest string `json:"digest"`
	Ends   string `json:"ends,omitempty"` // base64 of varints: row − row before, position
}

const (
	manifestFormat = 1 // all logs
	partFormat     = 2 // feeds alone, or one log
	manifestFile   = "manifest"
	segmentSuffix  = ".seg"
)

// save writes the manifest: of every log what its segments hold, and of every
// shard the feed position from which the rest comes again. x.apply is held.
func (x *Index) save() error {
	if x.opts.OnDemand {
		return x.saveLogs()
	}
	m := manifest{Format: manifestFormat, Feeds: map[string]uint64{}}
	feeds := map[int]uint64{}
	x.mu.RLock()
	for shard, feed := range x.feeds {
		feeds[shard] = feed
	}
	logs := make([]*logIndex, 0, len(x.logs))
	for _, l := range x.logs {
		logs = append(logs, l)
	}
	x.mu.RUnlock()
	sort.Slice(logs, func(i, j int) bool { return logs[i].id < logs[j].id })
	for _, l := range logs {
		if first := l.head.first(); first != nil {
			feeds[l.shard] = min(feeds[l.shard], first.feed-1)
		}
		m.Logs = append(m.Logs, l.entry())
	}
	for shard, feed := range feeds {
		m.Feeds[strconv.Itoa(shard)] = feed
	}
	return x.writeManifest(x.dir, m)
}

// durable is the position up to which a log's segments hold what was applied.
func (l *logIndex) durable() uint64 {
	if first := l.head.first(); first != nil {
		return first.from - 1
	}
	return l.applied
}

// entry is what a manifest says of a log.
func (l *logIndex) entry() manifestLog {
	saved := manifestLog{ID: l.id, Shard: l.shard, Applied: l.durable()}
	for id, list := range l.deleted {
		for _, d := range list {
			if d.Position <= saved.Applied {
				if saved.Deleted == nil {
					saved.Deleted = map[string][]deletion{}
				}
				saved.Deleted[id] = append(saved.Deleted[id], d)
			}
		}
	}
	for _, s := range l.segments {
		saved.Segments = append(saved.Segments, manifestSegment{Digest: s.digest, Ends: s.packEnds(saved.Applied)})
	}
	return saved
}

func (m manifest) encode() ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, wrap("encode the manifest", err)
	}
	sum := sha256.Sum256(text)
	return append([]byte(hex.EncodeToString(sum[:])+"\n"), text...), nil
}

func (x *Index) writeManifest(dir string, m manifest) error {
	content, err := m.encode()
	if err != nil {
		return err
	}
	return wrap("write the manifest", x.replaceFile(filepath.Join(dir, manifestFile), content))
}

// packEnds gives the ends up to a position; those after it come again with the feed.
func (s *segment) packEnds(upTo uint64) string {
	if s.ended.Load() == 0 {
		return ""
	}
	var b []byte
	before := 0
	for row := range s.ends {
		if end := atomic.LoadUint64(&s.ends[row]); end != 0 && end <= upTo {
			b = binary.AppendUvarint(b, uint64(row-before))
			b = binary.AppendUvarint(b, end)
			before = row
		}
	}
	return base64.StdEncoding.EncodeToString(b)
}

func (s *segment) unpackEnds(packed string, upTo uint64) error {
	b, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		return torn("ends: %v", err)
	}
	row := uint64(0)
	for len(b) > 0 {
		step, n := binary.Uvarint(b)
		if n <= 0 {
			return torn("ends are cut off")
		}
		end, m := binary.Uvarint(b[n:])
		if m <= 0 || step >= uint64(s.n) || row+step >= uint64(s.n) || end <= s.from[row+step] || end > upTo {
			return torn("ends do not fit the segment")
		}
		row += step
		s.endRow(uint32(row), end)
		b = b[n+m:]
	}
	return nil
}

// loadManifest reads the manifest; nil where there is none.
func loadManifest(dir string) (*manifest, error) {
	content, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeManifest(content)
}

func decodeManifest(content []byte) (*manifest, error) {
	digest, text, _ := bytes.Cut(content, []byte("\n"))
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != string(digest) {
		return nil, torn("the manifest's digest does not fit")
	}
	m := &manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, torn("manifest: %v", err)
	}
	if m.Format != manifestFormat && m.Format != partFormat {
		return nil, torn("the manifest has format %d", m.Format)
	}
	return m, nil
}

// replaceFile writes a file so that a crash leaves the old or the new one.
func (x *Index) replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return x.finishFile(f, path, err)
}

// finishFile syncs a new file, gives it its name, and syncs the folder. It removes
// the file where that fails, or where writing it failed.
func (x *Index) finishFile(f *os.File, path string, err error) error {
	if err == nil {
		err = x.sync(f)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return x.syncFolder(filepath.Dir(path))
}

func (x *Index) syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(x.sync(d), d.Close())
}

func (x *Index) sync(f *os.File) error {
	if x.opts.sync != nil {
		return x.opts.sync(f)
	}
	return f.Sync()
}
