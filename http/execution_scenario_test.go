package http_test

import (
	"strings"
	"testing"

	. "varve/http/scenario"
)

var executed = []string{"execution.recorded"}

// executions plays steps whose events are those of the store of execution records.
func (s *served) executions(t *testing.T, steps ...Step) {
	t.Helper()
	records := &served{Stack: &Stack{Handler: s.Handler, Store: s.varve.Executed, Keys: s.Keys, Vars: s.Vars}}
	records.films(t, steps...)
}

// failed is a request that is wrong once it runs: it leaves a record of its failure.
func failed(name, do, body string, location ...any) Step {
	step := wrong(name, do, body, location...)
	step.Events = executed
	step.Check["error.details.execution_id"] = Present
	return step
}

const run = "POST /v1/retrievers/find/execute"

func TestExecutionScenario(t *testing.T) {
	t.Parallel()
	s := library(t)
	s.films(t, Step{Do: "POST /v1/retrievers", Events: retrieverSaved, Body: find, Save: map[string]string{"r": "retriever_id"}})
	s.executions(t,
		Step{Name: "execute", Do: run, Events: executed, Body: `{"inputs":{"query":"a monster aboard a ship in space"}}`, Save: map[string]string{"x": "execution_id", "hash": "result_hash", "at": "position", "top": "documents.0.document_id"},
			Check: map[string]any{"status": "completed", "retriever_id": "${r}", "documents.#": 3, "results.#": 3, "documents.0.title": "Alien", "results.0.title": "Alien", "documents.0.score": Present, "total": 3, "stage_statistics.stages.search.output_count": 4, "stage_statistics.stages.top.output_count": 3, "trace_recorded": true, "cache_hit": false}},
		Step{Name: "again: the same", Do: run, Events: executed, Body: `{"inputs":{"query":"a monster aboard a ship in space"}}`, Check: map[string]any{"result_hash": "${hash}", "documents.0.document_id": "${top}"}},
		Step{Name: "an input that narrows", Do: run, Events: executed, Body: `{"inputs":{"query":"a monster aboard a ship in space","year":1990}}`, Check: map[string]any{"documents.#": 2, "total": 2}},
		Step{Name: "a filter of the request", Do: run, Events: executed, Body: `{"inputs":{"query":"a monster"},"filters":{"title":"Dune"}}`, Check: map[string]any{"documents.#": 1, "documents.0.title": "Dune"}},
		Step{Name: "a filter on a missing field", Do: run, Events: executed, Body: `{"inputs":{"query":"a monster"},"filters":{"nothing":1}}`, Check: map[string]any{"documents.#": 0, "results.#": 0, "total": 0, "status": "completed"}},
		Step{Name: "a page", Do: run, Events: executed, Body: `{"inputs":{"query":"a monster aboard a ship in space"},"pagination":{"method":"cursor","limit":2}}`, Check: map[string]any{"documents.#": 2, "pagination.has_next": true}, Save: map[string]string{"next": "pagination.next_cursor", "second": "documents.1.document_id"}},
		Step{Name: "the next", Do: run, Events: executed, Body: `{"inputs":{"query":"a monster aboard a ship in space"},"pagination":{"method":"cursor","limit":2,"cursor":"${next}"}}`, Check: map[string]any{"documents.#": 1, "pagination.has_next": false}},
		Step{Name: "vectors", Do: run + "?return_vectors=true", Events: executed, Body: `{"inputs":{"query":"x"},"limit":1}`, Check: map[string]any{"documents.#": 1, "documents.0._vectors": Present}},
		Step{Name: "explained as it ran", Do: run + "?explain=true", Events: executed, Body: `{"inputs":{"query":"x"}}`, Check: map[string]any{"explain_plan.execution_plan.0.stage_id": "feature_search", "explain_plan.execution_plan.0.actual.output": 4}},
		Step{Name: "inputs that are too long", Do: run, Status: 422, Body: `{"inputs":{"query":"` + strings.Repeat("x", 300_000) + `"}}`, Check: map[string]any{"error.details.validation_errors.0.location.1": "inputs"}},
		Step{Name: "as it was", Do: run + "?as_of=${full}", Status: 404},
		Step{Name: "explain without running", Do: "POST /v1/retrievers/find/execute/explain", Body: `{"inputs":{"query":"x"}}`, Check: map[string]any{"execution_plan.#": 3, "retriever_name": "find"}},
		Step{Name: "explain, seed", Do: "POST /v1/retrievers/${r}/explain", Check: map[string]any{"execution_plan.#": 3}},
		Step{Name: "record", Do: "GET /v1/retrievers/find/executions/${x}", Check: map[string]any{"execution_id": "${x}", "status": "completed", "documents.#": 3, "documents.0.title": "Alien", "record.result_hash": "${hash}", "stage_statistics.stages.search.output_count": 4, "trace": Present, "total_stages": 3}},
		Step{Name: "record without the trace", Do: "GET /v1/retrievers/${r}/executions/${x}?trace=false", Check: map[string]any{"trace": Absent}},
		Step{Name: "status", Do: "GET /v1/retrievers/find/executions/${x}/status", Check: map[string]any{"status": "completed", "stages_completed": 3}},
		Step{Name: "list", Do: "POST /v1/retrievers/find/executions/list", Body: `{"limit":2}`, Check: map[string]any{"results.#": 2, "pagination.total": 9, "pagination.has_next": true}, Save: map[string]string{"page": "pagination.next_cursor", "newest": "results.0.created_at"}},
		Step{Name: "one comes meanwhile", Do: run, Events: executed, Body: `{"inputs":{"query":"meanwhile"}}`},
		Step{Name: "next page", Do: "POST /v1/retrievers/find/executions/list", Body: `{"limit":100,"cursor":"${page}"}`, Check: map[string]any{"results.#": 7, "results.6.execution_id": "${x}", "pagination.has_next": false}},
		Step{Name: "by filter", Do: "POST /v1/retrievers/find/executions/list", Body: `{"filters":{"result_hash":"${hash}"}}`, Check: map[string]any{"results.#": 2}},
		Step{Name: "until then", Do: "POST /v1/retrievers/find/executions/list", Body: `{"end_time":"${newest}"}`, Check: map[string]any{"results.#": 9}},
		Step{Name: "from a later time", Do: "POST /v1/retrievers/find/executions/list", Body: `{"start_time":"2999-01-01T00:00:00Z"}`, Check: map[string]any{"results.#": 0, "pagination.total": 0}},
		wrong("a time that is none", "POST /v1/retrievers/find/executions/list", `{"start_time":"yesterday"}`, "start_time"),
		Step{Name: "another organization", As: "other", Do: "GET /v1/retrievers/find/executions/${x}", Status: 404},
		Step{Name: "streamed", Do: run, Events: executed, Outside: true, Body: `{"inputs":{"query":"x"},"stream":true}`},
		Step{Name: "ad hoc", Do: "POST /v1/retrievers/execute", Events: executed, Save: map[string]string{"adhoc": "execution_id"},
			Body:  `{"collection_identifiers":["texts"],"inputs":{"q":"sand"},"stages":[{"type":"feature_search","query":"{{INPUT.q}}","limit":2},{"stage_id":"sort_attribute","parameters":{"field":"made","direction":"asc"}}]}`,
			Check: map[string]any{"documents.#": 2, "execution_mode": "adhoc"}},
		Step{Name: "ad hoc record", Do: "GET /v1/retrievers/executions/${adhoc}", Check: map[string]any{"execution_mode": "adhoc", "collection_ids.0": "${texts}", "total_returned": 2}},
		Step{Name: "ad hoc list", Do: "POST /v1/retrievers/executions/list", Check: map[string]any{"results.#": 1, "results.0.execution_id": "${adhoc}", "total": 1}},
		Step{Name: "ad hoc count", Do: "POST /v1/retrievers/executions/list", Body: `{"count_only":true}`, Check: map[string]any{"results.#": 0, "total": 1}},
		Step{Name: "not one of a retriever", Do: "GET /v1/retrievers/find/executions/${adhoc}", Status: 404},
		Step{Name: "not ad hoc", Do: "GET /v1/retrievers/executions/${x}", Status: 404},
	)
	s.films(t,
		Step{Name: "a film changes", Do: "PATCH /v1/documents/${top}", Events: []string{"document.written"}, Body: `{"title":"Alien, restored"}`},
		Step{Name: "and is deleted", Do: "DELETE " + objects + "/${alien}", AnyEvents: true},
	)
	s.executions(t,
		Step{Name: "the next does not find it", Do: run, Events: executed, Body: `{"inputs":{"query":"a monster aboard a ship in space"}}`, Check: map[string]any{"documents.0.title": Match("Brazil|Cube|Dune"), "documents.#": 3}},
		Step{Name: "as of then it is found", Do: run + "?as_of=${at}", Events: executed, Body: `{"inputs":{"query":"a monster aboard a ship in space"}}`, Check: map[string]any{"documents.0.title": "Alien", "result_hash": "${hash}"}},
		Step{Name: "the record shows it as it was", Do: "GET /v1/retrievers/find/executions/${x}", Check: map[string]any{"documents.0.title": "Alien"}},
		Step{Name: "the page goes on as it was", Do: run, Events: executed, Body: `{"inputs":{"query":"a monster aboard a ship in space"},"pagination":{"method":"cursor","limit":2,"cursor":"${next}"}}`, Check: map[string]any{"documents.#": 1}},
	)
	s.films(t, Step{Name: "delete the retriever", Do: "DELETE /v1/retrievers/find", Events: []string{"retriever.deleted"}})
	s.executions(t,
		Step{Name: "its executions stay", Do: "GET /v1/retrievers/${r}/executions/${x}", Check: map[string]any{"documents.#": 3}},
		Step{Name: "in the list too", Do: "POST /v1/retrievers/${r}/executions/list", Check: map[string]any{"pagination.total": 14}},
	)
}

func TestExecutionBadInput(t *testing.T) {
	t.Parallel()
	s := tiers(t)
	s.films(t, Step{Do: "POST /v1/retrievers", Events: retrieverSaved, Body: find})
	const adhoc = "POST /v1/retrievers/execute"
	s.executions(t,
		wrong("an input is missing", run, `{"inputs":{}}`, "inputs", "query"),
		wrong("no inputs at all", run, ``, "inputs", "query"),
		wrong("an input of a wrong type", run, `{"inputs":{"query":7}}`, "inputs", "query"),
		wrong("another input of a wrong type", run, `{"inputs":{"query":"x","year":"then"}}`, "inputs", "year"),
		wrong("inputs that are a list", run, `{"inputs":["x"]}`, "inputs"),
		wrong("an empty filter", run, `{"inputs":{"query":"x"},"filters":{}}`, "filters"),
		wrong("an empty list in a filter", run, `{"inputs":{"query":"x"},"filters":{"AND":[]}}`, "filters", "AND"),
		wrong("a limit of nothing", run, `{"inputs":{"query":"x"},"limit":-1}`, "limit"),
		wrong("a limit too large", run, `{"inputs":{"query":"x"},"limit":501}`, "limit"),
		wrong("a way of paging that is none", run, `{"inputs":{"query":"x"},"pagination":{"method":"jump"}}`, "pagination", "method"),
		wrong("a page too large", run, `{"inputs":{"query":"x"},"pagination":{"method":"offset","page_size":501}}`, "pagination", "page_size"),
		wrong("a cursor that is none", run, `{"inputs":{"query":"x"},"pagination":{"method":"cursor","cursor":"nonsense"}}`, "pagination", "cursor"),
		wrong("a trace that is none", run, `{"inputs":{"query":"x"},"trace":"never"}`, "trace"),
		refused("NaN", run, `{"inputs":{"query":NaN}}`, 400, "not JSON"),
		refused("invalid UTF-8", run, "{\"inputs\":{\"query\":\"\xff\"}}", 400, "UTF-8"),
		refused("an unknown one", "POST /v1/retrievers/ret_none/execute", `{}`, 404, "ret_none"),
		refused("an unknown one to explain", "POST /v1/retrievers/ret_none/execute/explain", `{}`, 404, "ret_none"),
		refused("an unknown execution", "GET /v1/retrievers/find/executions/exec_none", "", 404, "exec_none"),
		refused("its status", "GET /v1/retrievers/find/executions/exec_none/status", "", 404, "exec_none"),
		refused("an unknown ad hoc execution", "GET /v1/retrievers/executions/exec_none", "", 404, "exec_none"),
		refused("executions of nothing", "POST /v1/retrievers/ret_none/executions/list", "", 404, "ret_none"),
		wrong("an empty filter of executions", "POST /v1/retrievers/find/executions/list", `{"filters":{}}`, "filters"),
		wrong("no stages", adhoc, `{"collection_identifiers":["texts"]}`, "stages"),
		wrong("a collection that is not there", adhoc, `{"collection_identifiers":["none"],"stages":[{"type":"feature_search","query":"x"}]}`, "collection_identifiers", 0),
		failed("a template that names nothing", adhoc, `{"collection_identifiers":["texts"],"inputs":{"q":"x"},"stages":[{"type":"feature_search","query":"{{INPUT.query}}"}]}`, "stages", 0, "config", "parameters", "searches", 0, "query"),
		failed("an empty query", adhoc, `{"collection_identifiers":["texts"],"stages":[{"type":"feature_search","query":""}]}`, "stages", 0, "config", "parameters", "searches", 0, "query"),
		Step{Name: "nothing was recorded", Do: "POST /v1/retrievers/find/executions/list", Check: map[string]any{"pagination.total": 0}},
	)
}
