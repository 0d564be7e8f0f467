package postgres

import (
	"fmt"
	"strconv"
	"strings"

	"varve/eventstore"
)

// statements are the texts that name the schema's tables, made once.
type statements struct {
	channel string // of notifications
	commit  [1 << parts]string
	names   [1 << parts]string // of the prepared commits
	head    string
	headFor string // with the lock
	logs    string
	changed string // logs
	since   string // rows
	record  string
	streams string
	last    string
	readLog paged
	stream  paged
	one     paged // the stream of a log without ancestors
	feed    paged
}

// Parts of a commit; the statement has only those that there is something for,
// as every part costs, also an empty one.
const (
	withStreams = 1 << iota
	withEvents
	withLogs
	withClosed
	withScopes
	withBlobs
)

const (
	parts       = 6
	headColumns = 8 // the head's own parameters: $1 to $8
)

// part is a piece of the commit: a table that gets rows out of parameters, one for each column.
type part struct {
	table string
	types []string
}

var inserts = map[int]part{
	withStreams: {"streams", []string{"bigint", "bigint", "text", "bigint"}},
	withEvents:  {"events", []string{"bigint", "bigint", "bigint", "bigint", "bigint", "text", "bytea", "text", "bytea"}},
	withLogs:    {"logs", []string{"bigint", "text", "bigint", "bigint", "boolean", "text", "bigint", "bytea"}},
	withScopes:  {"scopes", []string{"bytea", "text", "bigint", "bytea", "bigint", "bigint", "bigint"}},
	withBlobs:   {"blobs", []string{"text", "bytea"}},
}

// commitSQL is one data-modifying statement. Its command tag says whether the
// head moved (SELECT 1) or another process had moved it (SELECT 0): under READ
// COMMITTED the token is looked at again after the wait for the row's lock, and
// every part holds itself to h.
func commitSQL(schema string, with int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `WITH h AS (UPDATE %s.heads SET token = $3, feed = $4, logs = $5, streams = $6,
	first = CASE WHEN $7::bigint > 0 THEN $7::bigint ELSE first END, writer = $8
	WHERE shard = $1 AND token = $2 RETURNING shard)`, schema)
	n := headColumns
	for bit := 1; bit < 1<<parts; bit <<= 1 {
		if with&bit == 0 {
			continue
		}
		if bit == withClosed {
			n++
			// No join with a list: a plan made for an empty table would scan this one.
			fmt.Fprintf(&b, `,
	p%d AS (UPDATE %s.logs SET closed = true, token = $3 WHERE log = ANY($%d::bigint[]) AND EXISTS (SELECT 1 FROM h))`, bit, schema, n)
			continue
		}
		p := inserts[bit]
		lists := make([]string, len(p.types))
		for i, kind := range p.types {
			n++
			lists[i] = fmt.Sprintf("$%d::%s[]", n, kind)
		}
		fmt.Fprintf(&b, `,
	p%d AS (INSERT INTO %s.%s SELECT * FROM unnest(%s) WHERE EXISTS (SELECT 1 FROM h))`, bit, schema, p.table, strings.Join(lists, ", "))
	}
	fmt.Fprintf(&b, `
	SELECT FROM h`)
	return b.String()
}

// What is read of an event.
const (
	rowColumns = "e.key, e.position, e.version, e.type, e.frame, e.data, e.packed, e.log, e.stream, s.name"
	size       = "coalesce(octet_length(data), 0) + coalesce(octet_length(packed), 0)"
)

// paged reads a page in two ways: light costs less, but gives no bytes of a row
// beyond lightBytes, and says so; sized ends the page before the row by which it
// would get beyond pageBytes a second time. Sizes are known without fetching what
// is big.
type paged struct{ light, sized string }

const lightBytes = 8 << 10

// pageSQL reads a page in the order of an index. The limit stands directly on
// the index scan, so that a generic plan, which knows no parameter, takes it.
func pageSQL(schema, where, order string) paged {
	from := fmt.Sprintf("FROM %s.events WHERE %s ORDER BY %s LIMIT $1", schema, where, order)
	named := fmt.Sprintf("CROSS JOIN LATERAL (SELECT name FROM %s.streams WHERE stream = e.stream LIMIT 1) s", schema)
	return paged{
		light: fmt.Sprintf(`SELECT e.key, e.position, e.version, e.type, e.frame, CASE WHEN light THEN e.data END, CASE WHEN light THEN e.packed END, e.log, e.stream, s.name, light
	FROM (SELECT *, %s <= %d AS light %s) e %s ORDER BY e.%s`, size, lightBytes, from, named, order),
		sized: fmt.Sprintf(`SELECT %s FROM (
	SELECT *, sum(%s) OVER (ORDER BY %s ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM (SELECT * %s) p) e
	%s WHERE coalesce(before, 0) <= %d ORDER BY e.%s`, rowColumns, size, order, from, named, pageBytes, order),
	}
}

// in puts the schema's name into a statement.
func in(schema, sql string) string { return strings.ReplaceAll(sql, "$S", schema) }

func newStatements(schema string) statements {
	s := statements{channel: "varve_" + schema}
	for with := range s.commit {
		s.commit[with], s.names[with] = commitSQL(schema, with), fmt.Sprintf("varve_commit_%s_%d", schema, with)
	}
	in := func(text string) string { return in(schema, text) }
	s.head = in("SELECT token, feed, first, logs, streams, writer FROM $S.heads WHERE shard = $1")
	s.headFor = s.head + " FOR UPDATE"
	const logColumns = `l.log, l.name, l.shard, l.closed, l.pieces, l.base_position, l.base, n.key, n.position, n.frame`
	const newest = `LEFT JOIN LATERAL (SELECT key, position, frame FROM $S.events WHERE log = l.log ORDER BY position DESC LIMIT 1) n ON true`
	s.logs = in(`SELECT ` + logColumns + `, w.i FROM unnest($1::text[]) WITH ORDINALITY AS w(name, i)
	CROSS JOIN LATERAL (SELECT * FROM $S.logs WHERE name = w.name COLLATE "C" LIMIT 1) l ` + newest)
	s.changed = in(`SELECT ` + logColumns + `, 0::bigint FROM $S.logs l ` + newest + ` WHERE l.shard = $1 AND l.token > $2 ORDER BY l.shard, l.token`)
	// What came since a head: what a committer remembers of it, so without metadata and data.
	s.since = in(`SELECT e.key, e.position, e.version, '', substr(e.frame, 1, ` + strconv.Itoa(eventstore.FrameMeta) + `), NULL::text, NULL::bytea, e.log, e.stream, s.name FROM (
		SELECT * FROM $S.events WHERE key > $1 AND key < $2 ORDER BY key LIMIT $3) e
	CROSS JOIN LATERAL (SELECT name FROM $S.streams WHERE stream = e.stream LIMIT 1) s ORDER BY e.key`)
	s.record = in("SELECT " + rowColumns + " FROM $S.events e CROSS JOIN LATERAL (SELECT name FROM $S.streams WHERE stream = e.stream LIMIT 1) s WHERE e.log = $1 AND e.position = $2")
	s.readLog = pageSQL(schema, "log = $2 AND position > $3 AND position <= $4", "position")
	s.stream = pageSQL(schema, "stream = $2 AND version > $3", "version")
	s.one = pageSQL(schema, in("stream = (SELECT stream FROM $S.streams WHERE log = $2 AND name = $3) AND version > $4"), "version")
	s.feed = pageSQL(schema, "key > $2 AND key < $3", "key")
	// The newest version of streams, in the order of the request; i is the number in it.
	s.streams = in(`SELECT w.i, s.stream, coalesce(n.version, s.base), coalesce(n.position, 0)
	FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS w(log, name, i)
	CROSS JOIN LATERAL (SELECT stream, base FROM $S.streams WHERE log = w.log AND name = w.name COLLATE "C" LIMIT 1) s
	LEFT JOIN LATERAL (SELECT version, position FROM $S.events WHERE stream = s.stream ORDER BY version DESC LIMIT 1) n ON true`)
	// The newest version at a position up to $3: positions rise with versions, so
	// the range is halved instead of walked back. A version that is not there lies
	// before the stream's own first one.
	s.last = in(`WITH RECURSIVE half(lo, hi) AS (
		SELECT 0::bigint, $2::bigint
		UNION ALL
		SELECT CASE WHEN later THEN lo ELSE mid END, CASE WHEN later THEN mid - 1 ELSE hi END
		FROM (SELECT lo, hi, (lo + hi + 1) / 2 AS mid FROM half WHERE lo < hi) m
		CROSS JOIN LATERAL (SELECT EXISTS (SELECT 1 FROM $S.events WHERE stream = $1 AND version = mid AND position > $3) AS later) x)
	SELECT version FROM $S.events WHERE stream = $1 AND version = (SELECT lo FROM half WHERE lo >= hi LIMIT 1)`)
	return s
}
