package eventstore

import "time"

// logState is what the committer remembers of a log.
type logState struct {
	key      int64 // 0: does not exist yet
	name     LogID
	shard    int
	position uint64
	feed     uint64
	hash     Hash
	time     time.Time
	closed   bool
	pieces   []Piece
	ranges   []Range
}

// streamState is what the committer remembers of a stream in a log.
type streamState struct {
	key     int64 // 0: the log itself has no row for it
	version uint64
	// assumed: taken for new without looking. The unique name in the engine
	// guards it, and until that has held, no answer may rest on it.
	assumed bool
}

type streamKey struct {
	log    LogID
	stream string
}

// memory keeps what was used lately: two generations, so that it is bounded and
// the used half survives. Pointers stay valid until the next turn.
type memory[K comparable, V any] struct {
	young, old map[K]V
	limit      int
}

func newMemory[K comparable, V any](limit int) memory[K, V] {
	return memory[K, V]{young: map[K]V{}, limit: limit}
}

func (m *memory[K, V]) find(k K) (V, bool) {
	if v, ok := m.young[k]; ok {
		return v, true
	}
	v, ok := m.old[k]
	if ok {
		m.young[k] = v
	}
	return v, ok
}

func (m *memory[K, V]) put(k K, v V) {
	delete(m.old, k)
	m.young[k] = v
}

func (m *memory[K, V]) drop(k K) {
	delete(m.young, k)
	delete(m.old, k)
}

// turn starts a new generation when the young one is full.
func (m *memory[K, V]) turn() {
	if len(m.young) >= m.limit {
		m.old, m.young = m.young, make(map[K]V, m.limit/4)
	}
}

func (m *memory[K, V]) clear() { m.young, m.old = map[K]V{}, nil }

// journal undoes what a plan changed in memory, newest first.
type journal struct {
	logs    []logUndo
	streams []streamUndo
}

type logUndo struct {
	at  *logState
	was logState
}

type streamUndo struct {
	at  *streamState
	was streamState
}

type mark struct{ logs, streams int }

func (j *journal) mark() mark { return mark{len(j.logs), len(j.streams)} }

func (j *journal) log(l *logState)       { j.logs = append(j.logs, logUndo{l, *l}) }
func (j *journal) stream(s *streamState) { j.streams = append(j.streams, streamUndo{s, *s}) }

func (j *journal) undo(m mark) {
	for i := len(j.logs) - 1; i >= m.logs; i-- {
		*j.logs[i].at = j.logs[i].was
	}
	for i := len(j.streams) - 1; i >= m.streams; i-- {
		*j.streams[i].at = j.streams[i].was
	}
	j.logs, j.streams = j.logs[:m.logs], j.streams[:m.streams]
}

func stateOf(i LogInfo) logState {
	return logState{
		key: i.Key, name: i.Name, shard: i.Shard, position: i.Position, feed: i.Feed,
		hash: i.Hash, time: i.Time, closed: i.Closed, pieces: i.Pieces, ranges: i.Ranges,
	}
}

func (l *logState) info() LogInfo {
	return LogInfo{Key: l.key, Name: l.name, Pieces: l.pieces, LogHead: LogHead{
		Exists: true, Shard: l.shard, Position: l.position, Feed: l.feed, Hash: l.hash,
		Time: l.time, Closed: l.closed, Ranges: l.ranges,
	}}
}

// cutPieces gives the pieces of a log's prefix up to a position.
func cutPieces(pieces []Piece, ranges []Range, upTo uint64) ([]Piece, []Range) {
	var ps []Piece
	var rs []Range
	for i, p := range pieces {
		if upTo == 0 {
			break
		}
		ps = append(ps, Piece{p.Key, min(p.UpTo, upTo)})
		rs = append(rs, Range{ranges[i].Log, min(p.UpTo, upTo)})
		if p.UpTo >= upTo {
			break
		}
	}
	return ps, rs
}
