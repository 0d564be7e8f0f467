package retrieve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"varve/domain"
	"varve/domain/text"
	"varve/eventstore"
	"varve/projections"
	"varve/projections/vector"
	"varve/projections/vector/embedded"
)

const testLog = eventstore.LogID("log_test")

const (
	denseURI = "mixpeek://text_extractor@v1/minilm_l6_v2_static_256"
	wordsURI = "mixpeek://text_extractor@v1/bm25"
)

// The compressor makes its channels at its first use, which must not be inside the
// bubble of a synctest.
func init() {
	if _, err := DecodeTrace((&Trace{}).Encode()); err != nil {
		panic(err)
	}
}

// world is a namespace with a real index: documents are written as events.
type world struct {
	tb     testing.TB
	index  *embedded.Index
	engine *Engine
	config domain.Config

	mu       sync.Mutex
	position uint64
	versions map[string][]version
	records  []recorded
	failing  error // what Record answers
}

type version struct {
	from uint64
	doc  map[string]any // nil: deleted
}

type recorded struct {
	header *domain.ExecutionRecorded
	trace  []byte
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	index, err := embedded.Open(tb.TempDir(), embedded.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { index.Close() })
	w := &world{tb: tb, index: index, versions: map[string][]version{}}
	w.config = newWorldConfig()
	n := 0
	w.engine = &Engine{
		Index: index, Documents: w.documents, Record: w.record,
		Now: func() time.Time { return time.Unix(1700000000, 0) },
		NewID: func(prefix string) string {
			w.mu.Lock()
			defer w.mu.Unlock()
			n++
			return fmt.Sprintf("%s%d", prefix, n)
		},
	}
	return w
}

func newWorldConfig() domain.Config {
	text := domain.ExtractorConfig{Name: "text_extractor", Version: "v1"}
	return domain.Config{Collections: map[string]domain.Collection{
		"col_a": {CollectionID: "col_a", Name: "papers", Extractor: text, Enabled: true, Source: domain.CollectionSource{Type: "bucket"}},
		"col_b": {CollectionID: "col_b", Name: "notes", Extractor: text, Enabled: true, Source: domain.CollectionSource{Type: "bucket"}},
		"col_v": {CollectionID: "col_v", Name: "vectors", Enabled: true, Source: domain.CollectionSource{Type: "bucket"},
			Extractor: domain.ExtractorConfig{Name: "passthrough_extractor", Version: "v1",
				Parameters: json.RawMessage(`{"vector_fields":[{"field":"v","name":"v","dimensions":3}]}`)}},
	}}
}

func asError(err error, to **domain.Error) bool { return errors.As(err, to) }

func (w *world) documents(_ context.Context, at projections.At, ids []string) (map[string]map[string]any, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]map[string]any{}
	for _, id := range ids {
		for _, v := range slices.Backward(w.versions[id]) {
			if v.from <= at.Position {
				if v.doc != nil {
					out[id] = v.doc
				}
				break
			}
		}
	}
	return out, nil
}

func (w *world) record(_ context.Context, _ eventstore.LogID, header *domain.ExecutionRecorded, trace []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failing != nil {
		return w.failing
	}
	w.records = append(w.records, recorded{header, trace})
	return nil
}

// put writes a document with the features of its text, if it has one.
func (w *world) put(id, collection, payload string, extra ...domain.Feature) {
	w.tb.Helper()
	d := domain.Document{DocumentID: id, CollectionID: collection, Payload: map[string]json.RawMessage{}, Lineage: domain.Lineage{SourceType: "bucket", RootObjectID: "obj_" + id}}
	if err := json.Unmarshal([]byte(payload), &d.Payload); err != nil {
		w.tb.Fatal(err)
	}
	features := extra
	var body string
	if json.Unmarshal(d.Payload["text"], &body) == nil && body != "" {
		if v, ok := text.Embed(body); ok {
			features = append(features, domain.Feature{URI: denseURI, Dense: v})
		}
		terms, length := text.Terms(body)
		features = append(features, domain.Feature{URI: wordsURI, Terms: terms, Length: length})
	}
	if m := d.Payload["metadata"]; m != nil {
		d.Metadata = m
		delete(d.Payload, "metadata")
	}
	var attachments []eventstore.Attachment
	for _, f := range features {
		attachments = append(attachments, eventstore.Attachment{Name: f.URI, Bytes: f.Encode()})
	}
	w.append(id, &domain.DocumentWritten{Document: d}, attachments, shown(d))
}

// shown is a document as the API shows it: what Varve knows is under _internal.
func shown(d domain.Document) map[string]any {
	doc := vector.Fields(d)
	lineage := map[string]any{"source_type": d.Lineage.SourceType, "root_object_id": d.Lineage.RootObjectID}
	delete(doc, "source_type")
	delete(doc, "root_object_id")
	doc["_internal"] = map[string]any{"document_id": d.DocumentID, "lineage": lineage, "metadata": doc["metadata"], "created_at": "2020-01-01T00:00:00Z"}
	return doc
}

func (w *world) remove(id, collection string) {
	w.tb.Helper()
	w.append(id, &domain.DocumentDeleted{DocumentID: id, CollectionID: collection}, nil, nil)
}

func (w *world) append(id string, e domain.EventData, attachments []eventstore.Attachment, doc map[string]any) {
	w.tb.Helper()
	data, err := domain.EncodeEvent(e)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.position++
	w.versions[id] = append(w.versions[id], version{w.position, doc})
	r := eventstore.Record{Log: testLog, Position: w.position, Feed: w.position, Stream: domain.DocumentStream(id),
		Version: uint64(len(w.versions[id])), Type: e.EventType(), Schema: 1, Data: data, Attachments: attachments}
	if err := w.index.Apply(context.Background(), 0, []eventstore.Record{r}); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) at() projections.At {
	w.mu.Lock()
	defer w.mu.Unlock()
	return projections.At{Log: testLog, Position: w.position}
}

// retriever normalizes stages that are written as JSON.
func retriever(tb testing.TB, collections []string, stages ...string) domain.Retriever {
	tb.Helper()
	raw := make([]json.RawMessage, len(stages))
	for i, s := range stages {
		raw[i] = json.RawMessage(s)
	}
	list, err := Normalize("stages", raw)
	if err != nil {
		tb.Fatal(err)
	}
	return domain.Retriever{RetrieverID: "ret_1", Name: "test", CollectionIDs: collections, Stages: list, Version: 1}
}

func (w *world) request(r domain.Retriever, inputs string) Request {
	return Request{At: w.at(), Config: w.config, Retriever: r, Mode: ModeRetriever, Inputs: json.RawMessage(inputs)}
}

func (w *world) run(r domain.Retriever, inputs string) *Execution {
	w.tb.Helper()
	x, err := w.engine.Execute(context.Background(), w.request(r, inputs))
	if err != nil {
		w.tb.Fatal(err)
	}
	return x
}

func ids(x *Execution) []string {
	list := []string{}
	for _, d := range x.Documents {
		list = append(list, d["document_id"].(string))
	}
	return list
}

// library is a world with a few texts.
func library(tb testing.TB) *world {
	w := newWorld(tb)
	for _, d := range []struct{ id, collection, payload string }{
		{"d1", "col_a", `{"text":"Supersonic flow over a flat plate","metadata":{"year":1955,"tags":["flow","plate"]}}`},
		{"d2", "col_a", `{"text":"Boundary layer theory for slip flow","metadata":{"year":1960,"tags":["flow","layer"]}}`},
		{"d3", "col_a", `{"text":"Heat transfer to the stagnation point of a blunt body","metadata":{"year":1958,"tags":["heat"]}}`},
		{"d4", "col_a", `{"text":"Buckling of thin cylindrical shells under pressure","metadata":{"year":1962}}`},
		{"d5", "col_b", `{"text":"Supersonic wings and the flow around them","metadata":{"year":1957,"tags":["flow","wing"]}}`},
		{"d6", "col_b", `{"text":"Cooking soup with vegetables","metadata":{"tags":["food"]}}`},
	} {
		w.put(d.id, d.collection, d.payload)
	}
	return w
}
