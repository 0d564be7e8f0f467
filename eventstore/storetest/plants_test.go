package storetest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A planted bug is a small change of the source after which the suite must fail.
type planted struct {
	name  string
	edits []edit
	test  string // package, as from the module's root
	run   string
}

type edit struct{ file, old, new string }

func plant(name, test, run, file, old, new string) planted {
	return planted{name, []edit{{file, old, new}}, test, run}
}

const (
	mem = "./eventstore/memory"
	sql = "./eventstore/sqlite"
	es  = "./eventstore"
)

var bugs = []planted{
	plant("commit is not synced", sql, "Durable", "sqlite/conn.go", `"synchronous(FULL)"`, `"synchronous(OFF)"`),
	plant("deleted bytes stay", sql, "Contract/.*/Erase", "sqlite/conn.go", `"secure_delete(ON)"`, `"secure_delete(OFF)"`),
	plant("erased bytes stay in the write-ahead log", sql, "Contract/.*/Erase", "sqlite/commit.go", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA wal_checkpoint(PASSIVE)"),
	plant("erased attachments stay", sql, "Contract/.*/Erase", "sqlite/commit.go", "SET data = NULL, packed = NULL, frame", "SET data = NULL, frame"),
	plant("head is not guarded (SQLite)", sql, "Contract/TwoProcesses", "sqlite/commit.go", "WHERE shard = ? AND token = ?", "WHERE shard = ? AND token >= 0 * ?"),
	plant("head is not guarded (memory)", mem, "Contract", "memory/memory.go", "if sh.head.Token != c.Old.Token {", "if false {"),
	plant("names are compared without case", sql, "Contract/.*/Names", "sqlite/schema.go", "	name   TEXT    NOT NULL,\n	base", "	name   TEXT    NOT NULL COLLATE NOCASE,\n	base"),
	plant("branch reads on after the fork (SQLite)", sql, "Contract/Branch", "sqlite/read.go", "if r.Position > upTo {", "if upTo == 0 {"),
	plant("branch reads on after the fork (memory)", mem, "Contract", "memory/read.go", "if r.Position > upTo {", "if false {"),
	plant("branch takes the newest version of its source", sql, "Contract", "sqlite/stream.go", "if pos, ok, err := at(newest); err != nil || ok && pos <= upTo {", "if _, ok, err := at(newest); err != nil || ok {"),
	plant("versions are forgotten on reopening", sql, "Contract/.*/Reopen", "sqlite/stream.go", "coalesce((SELECT max(version) FROM events WHERE stream = s.stream), s.base)", "s.base"),
	plant("truncated streams begin anew", sql, "Contract/Truncate", "sqlite/truncate.go", "SET base = max(base, n.v)", "SET base = 0 * n.v"),
	plant("a commit brings back a cut feed", mem, "Contract/Truncate", "memory/memory.go", "	sh.head.First = first\n", "	_ = first\n"),
	{"acknowledged before it is durable", []edit{
		{"committer.go", "		c.purge(g)\n", "		for _, r := range g.writes {\n			r.done <- outcome{feed: r.feed}\n		}\n		c.purge(g)\n"},
		{"committer.go", "		r.done <- outcome{feed: r.feed}\n	}\n	for _, v", "		select {\n		case r.done <- outcome{feed: r.feed}:\n		default:\n		}\n	}\n	for _, v"},
	}, sql, "Crash"},
	{"the two halves of an append are two transactions", []edit{
		{"sqlite/commit.go", "	if err := failpoint.Hit(\"sqlite.between-events\"); err != nil {\n				return err\n			}", "	e.w.exec(\"COMMIT\")\n			e.w.exec(\"BEGIN IMMEDIATE\")\n			if err := failpoint.Hit(\"sqlite.between-events\"); err != nil {\n				return err\n			}"},
	}, sql, "Crash"},
	plant("expected versions are not checked", mem, "Contract", "plan.go", "st.version != b.Expect.Version() {", "st.version > b.Expect.Version()+1 {"),
	plant("a conflict from stale memory", mem, "Contract/TwoProcesses", "committer.go", "err == nil && head.Token != c.head.Token", "err == nil && head.Token == 0"),
	plant("positions are given out before it is certain", mem, "Contract", "plan.go", "		c.journal.undo(m)\n", "		_ = m\n"),
	plant("a refused commit is remembered", es, "Unwritable|Unknown|Always", "committer.go", "	} else {\n		c.journal.undo(mark{})\n", "	} else {\n"),
	plant("one bad append spoils its group", es, "Unwritable", "committer.go", "case len(g.writes) > 1:", "case len(g.writes) > 1000:"),
	plant("an unknown outcome is called a failure", es, "Unknown", "committer.go", "	if written {", "	if written && false {"),
	plant("idempotency is not kept", mem, "Contract/.*/Idempotency", "plan.go", "		g.commit.Scopes = append(", "		_ = append("),
	plant("idempotency never ends", mem, "Contract/Idempotency", "open.go", "> idempotencyKept {", "> 10*idempotencyKept {"),
	plant("time goes back", mem, "Contract/Times", "plan.go", "	if l.time.After(at) {", "	if false {"),
	plant("milliseconds only", mem, "Contract/Times", "plan.go", "Truncate(time.Microsecond)", "Truncate(time.Millisecond)"),
	plant("the feed has a gap", mem, "Contract", "plan.go", "		head.Feed++\n", "		head.Feed++\n		if head.Feed == 40 {\n			head.Feed++\n		}\n"),
	plant("a branch begins with the newest hash", mem, "Contract", "plan.go", "l.hash, l.time = row.Hash, row.Time", "l.hash, l.time = durable.hash, row.Time"),
	plant("the chain leaves out metadata", es, "Golden", "chain.go", "	b = appendField(b, meta)\n", ""),
	plant("the digest leaves out attachments", es, "Golden", "chain.go", "		b = append(b, sum[:]...)\n", "		_ = sum\n"),
	plant("verify does not look at digests", sql, "Tampered", "verify.go", "DataDigest(r.Salt, r.Data, r.Attachments) != r.Digest", "false"),
	plant("cancelled appends are written", mem, "Contract/Cancelled", "queue.go", "if r.state.CompareAndSwap(waiting, taken) {", "if r.state.Store(taken); true {"),
	plant("the queue has no end", mem, "Contract/Overload", "queue.go", "len(q.items) >= q.maxItems || ", ""),
	plant("big attachments are lost", mem, "Contract/.*/Attachments", "plan.go", "	g.commit.Blobs = append(g.commit.Blobs, r.blobs...)\n", ""),
	plant("erasing one record harms those that share its blob", mem, "Contract/.*/Erase", "erase.go", "			q.offset = len(blob) - q.len\n", ""),
	plant("closed logs take appends", mem, "Contract/.*/Closed", "plan.go", "	case l.closed:\n		return 0, ErrClosed\n", ""),
	plant("a stream is remembered from before its log was a branch", mem, "Contract/Fork", "plan.go", "			c.streams.drop(k) // looked", "			_ = k // looked"),
	plant("the copy forgets idempotency keys", mem, "Contract/Copy", "copy.go", "	return c.scopes(ctx, shard)\n", "	return nil\n"),
	plant("a reader stumbles over a repacked blob", mem, "Contract/Attachments", "read.go", "		if err == nil || p.ctx.Err() != nil {\n", "		if true {\n"),
	plant("waiting followers are not woken", mem, "Contract/WaitWakes", "read.go", "		close(sh.moved)\n", ""),
}

// TestPlantsFit: every planted bug still fits the source, so that the run which
// plants them (go test -tags plant) does not rot in between.
func TestPlantsFit(t *testing.T) {
	for _, b := range bugs {
		for _, e := range b.edits {
			src, err := os.ReadFile(filepath.Join("..", e.file))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(src), e.old); n != 1 {
				t.Errorf("%s: %s has %q %d times; change the bug in plants_test.go with the source", b.name, e.file, e.old, n)
			}
		}
	}
}
