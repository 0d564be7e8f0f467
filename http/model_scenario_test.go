package http_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"varve/domain"
	"varve/eventstore"
	. "varve/http/scenario"
	"varve/projections"
)

// put appends an event past every command, and gives its position.
func put(t *testing.T, store eventstore.Store, log eventstore.LogID, stream, kind, data string) uint64 {
	t.Helper()
	done, err := store.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{{Log: log, Stream: stream, Events: []eventstore.Event{{Type: kind, Data: json.RawMessage(data)}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return done.Records[0].Position
}

// place is where GET /v1/models shows a model's shard that holds a log; first is
// the index of the model's shard 0.
func place(t *testing.T, store eventstore.Follower, log eventstore.LogID, first int) (shard int, path string) {
	t.Helper()
	head, err := store.LogHead(context.Background(), log)
	if err != nil {
		t.Fatal(err)
	}
	return head.Shard, fmt.Sprintf("models.%d.", first+head.Shard)
}

// What a read model cannot apply is shown to its organization alone, which tries it
// again or leaves it out.
func TestParkedScenario(t *testing.T) {
	t.Parallel()
	s := films(t)
	shards := s.Store.Shards()
	poisoned := domain.DocumentStream("doc_1")
	first := put(t, s.Store, s.log, poisoned, "document.written", `{"document_id":7}`)
	second := put(t, s.Store, s.log, poisoned, "document.written", `{"document_id":8}`)
	put(t, s.Store, s.log, poisoned, "document.written", `{"document_id":"doc_1","collection_id":"col_1","payload":{"title":"Brazil"},"lineage":{"source_type":"direct_upsert"}}`)
	shard, at := place(t, s.Store, s.log, shards)
	s.Vars["log"], s.Vars["stream"] = string(s.log), poisoned
	const retry, skip = "POST /v1/models/documents/parked/retry", "POST /v1/models/documents/parked/skip"
	body := fmt.Sprintf(`{"shard":%d,"log":"${log}","stream":"${stream}"}`, shard)
	stands := func(position uint64, tries int, parked string) map[string]any {
		return map[string]any{parked + ".log": "${log}", parked + ".namespace": "films", parked + ".stream": "${stream}", parked + ".position": position, parked + ".type": "document.written",
			parked + ".error": Match("apply to documents"), parked + ".since": Present, parked + ".tries": tries}
	}
	listed := stands(first, 3, at+"parked_streams.0")
	listed[at+"model"], listed[at+"shard"], listed[at+"parked"], listed[at+"parked_streams.#"] = "documents", shard, 1, 1
	tried := stands(first, 4, at+"parked_streams.0")
	s.Play(t,
		Step{Name: "it is listed", Do: "GET /v1/models", Until: true, Check: listed},
		Step{Name: "not to others", As: "other", Do: "GET /v1/models", Check: map[string]any{at + "parked": 1, at + "parked_streams.#": 0}},
		refusedTo("other", "who cannot skip it", skip, body, 404, "has parked nothing$"),
		Step{Name: "retry", Do: retry, Body: body, Check: with(stands(first, 4, "parked"), "model", "documents", "shard", shard, "stream", "${stream}")},
		Step{Name: "that is counted", Do: "GET /v1/models", Check: tried},
		Step{Name: "the document is not there", Do: "GET /v1/documents/doc_1", Namespace: "films", Status: 404},
		refused("another stream", skip, `{"log":"${log}","stream":"document-doc_2"}`, 404, "parked are stream document-doc_1 of log "+string(s.log)+fmt.Sprintf(" in shard %d, from position %d on$", shard, first)),
		refused("the whole log", skip, `{"log":"${log}"}`, 404, "has not parked log "+string(s.log)+" as a whole"),
		refused("another shard", skip, fmt.Sprintf(`{"shard":%d,"log":"${log}","stream":"${stream}"}`, shards), 404, fmt.Sprintf("in shard %d; parked are", shards)),
		refused("another model", "POST /v1/models/objects/parked/skip", body, 404, "objects has not parked .* has parked nothing"),
		refused("a model that is none", "POST /v1/models/dreams/parked/skip", body, 404, "dreams"),
		wrong("no log", skip, `{"stream":"x"}`, "log"),
		wrong("a shard that is none", retry, `{"shard":-1,"log":"x"}`, "shard"),
		Step{Name: "nobody", As: "nobody", Do: skip, Body: body, Status: 401},
		refused("from another position", skip, fmt.Sprintf(`{"log":"${log}","stream":"${stream}","position":%d}`, second), 404, fmt.Sprintf("from position %d on; parked are .*, from position %d on$", second, first)),
		Step{Name: "skip", Do: skip, Body: fmt.Sprintf(`{"shard":%d,"log":"${log}","stream":"${stream}","position":%d}`, shard, first), Check: stands(second, 5, "parked")},
		refused("skip it twice", skip, fmt.Sprintf(`{"log":"${log}","stream":"${stream}","position":%d}`, first), 404, "has not parked"),
		Step{Name: "skip the next, wherever the log is", Do: skip, Body: `{"log":"${log}","stream":"${stream}"}`, Check: map[string]any{"parked": Absent, "shard": shard}},
		Step{Name: "it is gone", Do: "GET /v1/models", Check: map[string]any{at + "parked": 0, at + "parked_streams.#": 0}},
		Step{Name: "and what follows is applied", Do: "GET /v1/documents/doc_1", Namespace: "films", Check: map[string]any{"title": "Brazil"}},
		refused("a second time", skip, body, 404, "has parked nothing"),
	)
}

// A log that is parked as a whole is named without a stream.
func TestParkedLogScenario(t *testing.T) {
	t.Parallel()
	s := films(t)
	s.Vars["log"] = string(s.log)
	before := put(t, s.Store, s.log, domain.ConfigStream, "collection.deleted", `{"collection_id":7}`)
	_, at := place(t, s.Store, s.log, s.Store.Shards())
	s.Play(t,
		Step{Name: "it is listed", Do: "GET /v1/models", Until: true, Check: map[string]any{at + "parked_streams.0.stream": "", at + "parked_streams.0.position": before, at + "parked_streams.0.type": "collection.deleted"}},
		Step{Name: "skip", Do: "POST /v1/models/documents/parked/skip", Body: `{"log":"${log}"}`, Check: map[string]any{"parked": Absent, "stream": ""}},
	)
}

// What is parked of a namespace that was deleted is still its organization's.
func TestParkedDeletedScenario(t *testing.T) {
	t.Parallel()
	s := films(t)
	s.Vars["log"], s.Vars["stream"] = string(s.log), domain.DocumentStream("doc_1")
	put(t, s.Store, s.log, s.Vars["stream"], "document.written", `{"document_id":7}`)
	_, at := place(t, s.Store, s.log, s.Store.Shards())
	s.Play(t,
		Step{Name: "delete it", Do: "DELETE /v1/namespaces/films", Events: []string{"namespace.deleted", "namespace.closed"}},
		Step{Name: "it is listed", Do: "GET /v1/models", Until: true, Check: map[string]any{at + "parked_streams.0.log": "${log}", at + "parked_streams.0.namespace": "films"}},
		Step{Name: "not to others", As: "other", Do: "GET /v1/models", Check: map[string]any{at + "parked": 1, at + "parked_streams.#": 0}},
		Step{Name: "skip", Do: "POST /v1/models/documents/parked/skip", Body: `{"log":"${log}","stream":"${stream}"}`, Check: map[string]any{"parked": Absent}},
	)
}

// Execution records have a runner of their own, whose logs are shown as their namespace's.
func TestParkedTracesScenario(t *testing.T) {
	t.Parallel()
	s := films(t)
	log := projections.ExecutionLog(s.log, 3)
	put(t, s.varve.Executed, log, "execution-1", "execution.recorded", `{"execution_id":7}`)
	_, at := place(t, s.varve.Executed, log, 5*s.Store.Shards())
	s.Vars["log"] = string(log)
	s.Play(t,
		Step{Name: "it is listed", Do: "GET /v1/models", Until: true, Check: map[string]any{at + "model": "traces", at + "parked_streams.0.log": "${log}", at + "parked_streams.0.namespace": "films"}},
		Step{Name: "retry", Do: "POST /v1/models/traces/parked/retry", Body: `{"log":"${log}","stream":"execution-1"}`, Check: map[string]any{"parked.tries": 4}},
		Step{Name: "skip", Do: "POST /v1/models/traces/parked/skip", Body: `{"log":"${log}","stream":"execution-1"}`, Check: map[string]any{"parked": Absent}},
		Step{Name: "it is gone", Do: "GET /v1/models", Check: map[string]any{at + "parked": 0}},
	)
}

// refusedTo is a request that is refused to a certain caller.
func refusedTo(as, name, do, body string, status int, message string) Step {
	step := refused(name, do, body, status, message)
	step.As = as
	return step
}

// with adds checks, each a path and a value.
func with(checks map[string]any, more ...any) map[string]any {
	for i := 0; i < len(more); i += 2 {
		checks[more[i].(string)] = more[i+1]
	}
	return checks
}
