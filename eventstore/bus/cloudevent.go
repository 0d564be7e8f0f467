package bus

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"

	"varve/eventstore"
)

// The headers of a message: CloudEvents 1.0 in Kafka's binary mode. The value
// is the record's data, the key is the log. Extension attributes are present
// only where they have a value.
const (
	headerVersion     = "ce_specversion"
	headerID          = "ce_id"
	headerType        = "ce_type"
	headerSource      = "ce_source"
	headerSubject     = "ce_subject" // the stream
	headerTime        = "ce_time"
	headerLog         = "ce_log"
	headerPosition    = "ce_position"
	headerShard       = "ce_shard"
	headerFeed        = "ce_feedposition"
	headerStream      = "ce_streamversion"
	headerSchema      = "ce_schemaversion"
	headerHash        = "ce_hash"
	headerDigest      = "ce_digest"
	headerAttachments = "ce_attachments" // JSON: [{"name":…,"sha256":…,"bytes":…}]
	headerErased      = "ce_erased"      // "true": data and attachments were erased; the value is empty
	headerOmitted     = "ce_dataomitted" // bytes of data that did not fit into a message; the value is empty
	headerContent     = "content-type"
	headerTraceParent = "traceparent" // W3C's own, the same as ce_traceparent
	contentJSON       = "application/json"
	specVersion       = "1.0"
)

// metaHeaders are the metadata's headers; traceparent is CloudEvents' own extension.
var metaHeaders = []struct {
	name  string
	field func(*eventstore.Metadata) *string
}{
	{"ce_actor", func(m *eventstore.Metadata) *string { return &m.Actor }},
	{"ce_apikey", func(m *eventstore.Metadata) *string { return &m.Key }},
	{"ce_correlation", func(m *eventstore.Metadata) *string { return &m.Correlation }},
	{"ce_causation", func(m *eventstore.Metadata) *string { return &m.Causation }},
	{"ce_traceparent", func(m *eventstore.Metadata) *string { return &m.TraceParent }},
	{"ce_origin", func(m *eventstore.Metadata) *string { return &m.Origin }},
	{"ce_reason", func(m *eventstore.Metadata) *string { return &m.Reason }},
}

// attachment is what a message tells of a record's attachment.
type attachment struct {
	Name   string          `json:"name"`
	SHA256 eventstore.Hash `json:"sha256"`
	Bytes  int             `json:"bytes"`
}

// encode makes headers and value. Salt and attachment bytes stay in the store;
// data that would make the message larger than limit stay there too.
func encode(r *eventstore.Record, source string, limit int) ([]sarama.RecordHeader, []byte) {
	h := make([]sarama.RecordHeader, 0, 20)
	space := make([]byte, 0, 1024) // for names and values of all headers
	add := func(name, value string) {
		space = append(append(space, name...), value...)
		at := len(space) - len(value)
		h = append(h, sarama.RecordHeader{Key: space[at-len(name) : at : at], Value: space[at:len(space):len(space)]})
	}
	add(headerVersion, specVersion)
	add(headerID, r.ID.String())
	add(headerType, r.Type)
	add(headerSource, source)
	add(headerSubject, r.Stream)
	add(headerTime, r.Time.UTC().Format(time.RFC3339Nano))
	add(headerLog, string(r.Log))
	add(headerPosition, strconv.FormatUint(r.Position, 10))
	add(headerShard, strconv.Itoa(r.Shard))
	add(headerFeed, strconv.FormatUint(r.Feed, 10))
	add(headerStream, strconv.FormatUint(r.Version, 10))
	add(headerSchema, strconv.Itoa(r.Schema))
	add(headerHash, r.Hash.String())
	add(headerDigest, r.Digest.String())
	for i := range metaHeaders {
		if value := *metaHeaders[i].field(&r.Meta); value != "" {
			add(metaHeaders[i].name, value)
		}
	}
	if r.Meta.TraceParent != "" { // where instrumentation of other consumers looks for it
		add(headerTraceParent, r.Meta.TraceParent)
	}
	if len(r.Attachments) > 0 {
		list := make([]attachment, len(r.Attachments))
		for i, a := range r.Attachments {
			list[i] = attachment{a.Name, sha256.Sum256(a.Bytes), len(a.Bytes)}
		}
		text, _ := json.Marshal(list)
		add(headerAttachments, string(text))
	}
	if r.Erased {
		add(headerErased, "true")
		return h, nil
	}
	size := 512 + len(r.Log) + len(r.Data)
	for i := range h {
		size += len(h[i].Key) + len(h[i].Value) + 10
	}
	if size > limit {
		add(headerOmitted, strconv.Itoa(len(r.Data)))
		return h, nil
	}
	add(headerContent, contentJSON)
	return h, r.Data
}

// Message is a record as a Watermill message: its UUID is the record's id, its
// metadata are the headers. Publish sends it as the relay would.
func Message(r *eventstore.Record, source string) *message.Message {
	headers, value := encode(r, cmp.Or(source, defaultSource), defaultMaxBytes)
	m := message.NewMessage(r.ID.String(), value)
	for _, h := range headers {
		m.Metadata[string(h.Key)] = string(h.Value)
	}
	return m
}

// decoded is a record that a message told of. Its salt is zero. Where partial
// is true, the store has more of it than the message.
type decoded struct {
	eventstore.Record
	partial bool
}

// decode reads a message of a shard's partition, and refuses whatever encode
// would not have written.
func decode(headers []*sarama.RecordHeader, value []byte, shard int, source string) (decoded, error) {
	fields := make(map[string]string, len(headers))
	for _, h := range headers {
		name := string(h.Key)
		if _, twice := fields[name]; twice {
			return decoded{}, fmt.Errorf("decode message: header %s is there twice", name)
		}
		fields[name] = string(h.Value)
	}
	p := parser{fields: fields}
	d := decoded{Record: eventstore.Record{
		Log: eventstore.LogID(p.text(headerLog)), Stream: p.text(headerSubject), Type: p.text(headerType),
		Position: p.number(headerPosition), Feed: p.number(headerFeed), Version: p.number(headerStream),
		Shard: int(p.number(headerShard)), Schema: int(p.number(headerSchema)),
		Hash: p.hash(headerHash), Digest: p.hash(headerDigest),
	}}
	var err error
	if d.ID, err = eventstore.ParseID(p.text(headerID)); err != nil {
		p.fail(headerID, err.Error())
	}
	if d.Time, err = time.Parse(time.RFC3339Nano, p.text(headerTime)); err != nil {
		p.fail(headerTime, err.Error())
	}
	d.Time = d.Time.UTC()
	p.want(headerVersion, specVersion)
	p.want(headerSource, source)
	p.want(headerShard, strconv.Itoa(shard))
	if d.Position == 0 || d.Feed == 0 || d.Version == 0 || d.Schema == 0 {
		p.fail("positions, versions", "count from 1")
	}
	for i := range metaHeaders {
		*metaHeaders[i].field(&d.Meta) = fields[metaHeaders[i].name]
	}
	_, attached := fields[headerAttachments]
	_, omitted := fields[headerOmitted]
	d.partial = attached || omitted
	switch d.Erased = fields[headerErased] == "true"; {
	case (d.Erased || omitted) && len(value) > 0:
		p.fail("value", "should be empty")
	case !d.Erased && !omitted:
		p.want(headerContent, contentJSON)
		if !json.Valid(value) {
			p.fail("value", "is no JSON")
		}
		d.Data = bytes.Clone(value)
	}
	return d, p.err
}

// parser keeps the first thing that is wrong.
type parser struct {
	fields map[string]string
	err    error
}

func (p *parser) fail(name, why string) {
	if p.err == nil {
		p.err = fmt.Errorf("decode message: %s: %s", name, why)
	}
}

func (p *parser) text(name string) string {
	value, ok := p.fields[name]
	if !ok || value == "" {
		p.fail(name, "is missing")
	}
	return value
}

func (p *parser) want(name, value string) {
	if got := p.fields[name]; got != value {
		p.fail(name, fmt.Sprintf("is %q, not %q", got, value))
	}
}

func (p *parser) number(name string) uint64 {
	n, err := strconv.ParseUint(p.text(name), 10, 63)
	if err != nil {
		p.fail(name, "is no number")
	}
	return n
}

func (p *parser) hash(name string) eventstore.Hash {
	h, err := eventstore.ParseHash(p.text(name))
	if err != nil {
		p.fail(name, err.Error())
	}
	return h
}

// isRecord tells a record's message from others.
func isRecord(m message.Metadata) bool {
	return slices.ContainsFunc([]string{headerFeed, headerShard}, func(name string) bool { return m[name] != "" })
}
