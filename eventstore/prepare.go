package eventstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"varve/eventstore/failpoint"
)

// InvalidError says what is wrong with an append that no store could take.
type InvalidError struct {
	Path   string // "batches[0].events[2].data"
	Reason string
}

// Error names the part and what would be right.
func (e *InvalidError) Error() string { return fmt.Sprintf("append: %s %s", e.Path, e.Reason) }

// request is one caller's append on its way through the committer.
type request struct {
	a       Append
	records []Record // one per event, batch by batch; the committer fills in place and chain
	rows    []NewRow // of the records
	blobs   []Blob
	bytes   int
	state   atomic.Int32
	done    chan outcome
	// expired: the idempotency scope has a row that is older than it counts.
	expired bool
	look    bool   // the scope must be looked up before planning
	looked  bool   // and was
	feed    uint64 // of the shard after this append
	// exec, where set, runs instead in the committer's goroutine, alone.
	exec func(*committer) error
}

// States of a request: the caller may withdraw it as long as it waits.
const (
	waiting int32 = iota
	taken
	withdrawn
)

// outcome is the committer's answer.
type outcome struct {
	feed   uint64
	replay *Scope
	err    error
}

// prepare checks what can be checked without the store and does, in the
// caller's goroutine, what costs time: ids, salts, digests, encodings.
func (s *store) prepare(ctx context.Context, a Append) (*request, error) {
	if err := s.validate(a); err != nil {
		return nil, err
	}
	n := 0
	for i := range a.Batches {
		n += len(a.Batches[i].Events)
	}
	r := &request{a: a, records: make([]Record, n), rows: make([]NewRow, n), done: make(chan outcome, 1)}
	if n == 0 {
		return r, nil
	}
	random := make([]byte, 24*n+16)
	if err := s.chance.fill(random); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	now := s.chance.now()
	attached := 0
	events := make([]*Event, 0, n)
	for i := range a.Batches {
		b := &a.Batches[i]
		meta := AppendMetadata(nil, &b.Meta)
		for j := range b.Events {
			e := &b.Events[j]
			rec := &r.records[len(events)]
			r.rows[len(events)] = NewRow{Record: rec, MetaBytes: meta}
			rnd := random[24*len(events):]
			events = append(events, e)
			rec.ID = e.ID
			if rec.ID.IsZero() {
				rec.ID = newID(now, rnd[16:24])
			}
			rec.Log, rec.Shard, rec.Stream, rec.Type = b.Log, a.Shard, b.Stream, e.Type
			rec.Schema = max(e.Schema, 1)
			rec.Data = append(json.RawMessage(nil), e.Data...)
			rec.Meta = b.Meta
			copy(rec.Salt[:], rnd[:16])
			rec.Digest = DataDigest(rec.Salt, rec.Data, e.Attachments)
			for k := range e.Attachments {
				attached += len(e.Attachments[k].Bytes)
			}
			r.bytes += len(rec.Data) + len(meta) + 300
		}
	}
	r.bytes += attached
	if attached > inlineLimit {
		return r, s.pack(ctx, r, events, random[24*n:])
	}
	for i, e := range events {
		r.rows[i].Packed = packInline(e.Attachments)
		r.records[i].Attachments = cloneAttachments(e.Attachments)
	}
	return r, nil
}

// pack lays the attachments of a big append into one blob.
func (s *store) pack(ctx context.Context, r *request, events []*Event, salt []byte) error {
	blob, parts := packBlob(salt, events)
	p := packed{where: inEngine, count: len(events)}
	if s.opts.Blobs != nil {
		ref, err := s.opts.Blobs.Put(ctx, blob)
		if err != nil {
			return fmt.Errorf("append: keep attachments: %w", err)
		}
		p.where, p.ref = inBlobs, ref
		if err := failpoint.Hit("append.blob-put"); err != nil {
			return err
		}
	} else {
		sum := sha256.Sum256(blob)
		p.ref = hex.EncodeToString(sum[:])
		r.blobs = []Blob{{p.ref, blob}}
	}
	for i := range r.rows {
		if len(parts[i]) == 0 {
			continue
		}
		p.index, p.parts = i, parts[i]
		r.rows[i].Packed = p.encode()
		r.records[i].Attachments = cloneAttachments(events[i].Attachments)
	}
	return nil
}

func cloneAttachments(as []Attachment) []Attachment {
	if len(as) == 0 {
		return nil
	}
	out := make([]Attachment, len(as))
	for i := range as {
		out[i] = Attachment{as[i].Name, append([]byte{}, as[i].Bytes...)}
	}
	return out
}

// maxName bounds names of logs, streams, types and attachments, so that every
// engine can index them.
const maxName = 1024

func (s *store) validate(a Append) error {
	if a.Shard < 0 || a.Shard >= len(s.shards) {
		return &InvalidError{"shard", fmt.Sprintf("is %d; the store has shards 0 to %d", a.Shard, len(s.shards)-1)}
	}
	if len(a.Batches) == 0 {
		return &InvalidError{"batches", "is empty; at least one batch is needed"}
	}
	if a.Idempotency != nil {
		if why := badName(a.Idempotency.Scope, 4*maxName); why != "" {
			return &InvalidError{"idempotency.scope", why}
		}
	}
	for i := range a.Batches {
		if part, why := badBatch(&a.Batches[i]); why != "" {
			return &InvalidError{fmt.Sprintf("batches[%d].%s", i, part), why}
		}
	}
	return nil
}

// badBatch says which part of a batch is wrong, and why; "" where nothing is.
func badBatch(b *Batch) (part, why string) {
	if why = badName(string(b.Log), maxName); why != "" {
		return "log", why
	}
	if b.Fork != nil {
		if why = badName(string(b.Fork.From), maxName); why != "" {
			return "fork.from", why
		}
		if b.Fork.From == b.Log {
			return "fork.from", "is the log itself; a log continues another one"
		}
	}
	if b.Stream != "" || len(b.Events) > 0 || b.Fork == nil && !b.Close {
		if why = badName(b.Stream, maxName); why != "" {
			return "stream", why
		}
	}
	for j := range b.Events {
		if part, why = badEvent(&b.Events[j]); why != "" {
			return fmt.Sprintf("events[%d].%s", j, part), why
		}
	}
	return "", ""
}

func badEvent(e *Event) (part, why string) {
	if why = badName(e.Type, maxName); why != "" {
		return "type", why
	}
	if e.Schema < 0 || e.Schema > 1<<30 {
		return "schema", "must be a version from 1 on"
	}
	if !utf8.Valid(e.Data) || !json.Valid(e.Data) {
		return "data", "must be valid JSON in UTF-8"
	}
	for k := range e.Attachments {
		if why = badName(e.Attachments[k].Name, maxName); why != "" {
			return fmt.Sprintf("attachments[%d].name", k), why
		}
		for m := range k {
			if e.Attachments[m].Name == e.Attachments[k].Name {
				return fmt.Sprintf("attachments[%d].name", k), "is used twice in one event"
			}
		}
	}
	return "", ""
}

func badName(s string, limit int) string {
	switch {
	case s == "":
		return "is missing"
	case len(s) > limit:
		return fmt.Sprintf("has %d bytes; at most %d are allowed", len(s), limit)
	case !utf8.ValidString(s):
		return "must be UTF-8"
	case strings.IndexByte(s, 0) >= 0:
		return "must not contain a NUL byte"
	}
	return ""
}
