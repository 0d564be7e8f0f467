package http_test

import (
	"testing"

	. "varve/http/scenario"
)

func TestBatchesAndTasksAreListed(t *testing.T) {
	t.Parallel()
	s := tiers(t)
	s.films(t, scream("a"),
		Step{Name: "first", Do: "POST " + batches, Events: batchSaved, Body: `{"object_ids":["${a}"],"batch_name":"first"}`, Save: map[string]string{"one": "batch_id"}},
		Step{Name: "second", Do: "POST " + batches, Events: []string{"batch.saved", "batch.submitted"}, Body: `{"object_ids":["${a}"],"batch_name":"second","auto_submit":true}`, Save: map[string]string{"two": "batch_id", "task": "task_id"}},
		Step{Name: "third", Do: "POST " + objects + "?auto_process=true", Events: []string{"object.saved", "batch.saved", "batch.submitted"}, Body: `{"title":"Brazil"}`},
		Step{Name: "newest first", Do: "POST " + batches + "/list", Body: `{"limit":2}`, Check: map[string]any{"results.#": 2, "results.1.batch_id": "${two}", "pagination.next_cursor": Present}, Save: map[string]string{"next": "pagination.next_cursor"}},
		Step{Name: "one comes", Do: "POST " + batches, Events: batchSaved, Body: `{"batch_name":"fourth"}`},
		Step{Name: "the rest", Do: "POST " + batches + "/list", Body: `{"limit":2,"cursor":"${next}"}`, Check: map[string]any{"results.#": 1, "results.0.batch_id": "${one}"}},
		Step{Name: "by status", Do: "POST " + batches + "/list", Body: `{"status":"PROCESSING"}`, Check: map[string]any{"results.#": 2, "results.1.batch_id": "${two}"}},
		Step{Name: "by collection", Do: "POST " + batches + "/list", Body: `{"collection_id":"${words}"}`, Check: map[string]any{"results.#": 2}},
		Step{Name: "by filter", Do: "POST " + batches + "/list", Body: `{"filters":{"batch_name":"first"}}`, Check: map[string]any{"results.#": 1, "results.0.batch_id": "${one}"}},
		Step{Name: "everywhere, narrowed", Do: "POST /v1/batches/list", Body: `{"bucket_id":"${bucket}"}`, Check: map[string]any{"results.#": 4, "results.0.namespace_id": "${ns}"}},
		Step{Name: "none of another bucket", Do: "POST /v1/batches/list", Body: `{"bucket_id":"bkt_none"}`, Check: map[string]any{"results.#": 0}},
		wrong("an empty filter", "POST "+batches+"/list", `{"filters":{}}`, "filters"),
		wrong("a status that is none", "POST "+batches+"/list", `{"status":"DONE"}`, "status"),
		wrong("a status that is none, of tasks", "POST /v1/tasks/list", `{"status":"DONE"}`, "status"),
		Step{Name: "tasks", Do: "POST /v1/tasks/list", Body: `{"include_total":true}`, Check: map[string]any{"results.#": 2, "pagination.total": 2, "results.1.task_id": "${task}"}},
		Step{Name: "tasks by filter", Do: "POST /v1/tasks/list", Body: `{"filters":{"batch_id":"${two}"}}`, Check: map[string]any{"results.#": 1}},
		Step{Name: "tasks by status", Do: "POST /v1/tasks/list", Body: `{"status":"COMPLETED"}`, Check: map[string]any{"results.#": 0}},
		Step{Name: "a task", Do: "GET /v1/tasks/${task}", Check: map[string]any{"status": "PROCESSING", "task_type": "api_buckets_batches_process"}},
		refused("no such task", "GET /v1/tasks/task_none", "", 404, "task_none"),
		Step{Name: "another's task", As: "other", Do: "GET /v1/tasks/${task}", Status: 404},
		Step{Name: "killed by another", As: "other", Do: "DELETE /v1/tasks/${task}", Check: map[string]any{"message": Match("no task")}},
		Step{Name: "goes on", Do: "GET /v1/tasks/${task}", Check: map[string]any{"status": "PROCESSING"}},
		Step{Name: "kill", Do: "DELETE /v1/tasks/${task}", Events: []string{"batch.canceled"}, Check: map[string]any{"success": true}},
		Step{Name: "killed", Do: "GET /v1/tasks/${task}", Check: map[string]any{"status": "CANCELED"}},
		Step{Name: "its batch too", Do: "GET " + batches + "/${two}", Check: map[string]any{"status": "CANCELED"}},
		Step{Name: "killed twice", Do: "POST /v1/tasks/${task}/kill", Check: map[string]any{"success": true}},
		Step{Name: "retried", Do: "POST " + batches + "/${two}/retry", Events: batchSubmitted, Body: `{"retry_mode":"all"}`, Save: map[string]string{"second": "task_id"}},
		Step{Name: "the old task does not stop the new", Do: "POST /v1/tasks/${task}/kill", Check: map[string]any{"success": true}},
		Step{Name: "which goes on", Do: "GET /v1/tasks/${second}", Check: map[string]any{"status": "PROCESSING", "additional_data.attempt": 2}},
	)
	s.Play(t,
		Step{Name: "without a namespace", Do: "GET /v1/batches/${one}", Check: map[string]any{"batch_name": "first", "namespace_id": "${ns}"}},
		Step{Name: "list without a namespace", Do: "POST /v1/batches/list", Check: map[string]any{"results.#": 4}},
		Step{Name: "filtered without a namespace", Do: "POST /v1/batches/list", Body: `{"filters":{"batch_name":"first"}}`, Check: map[string]any{"results.#": 1, "results.0.batch_id": "${one}"}},
		Step{Name: "searched without a namespace", Do: "POST /v1/batches/list", Body: `{"search":"second"}`, Check: map[string]any{"results.#": 1, "results.0.batch_id": "${two}"}},
		Step{Name: "named in the body", Do: "POST /v1/batches/list", Body: `{"namespace_id":"films","limit":1}`, Check: map[string]any{"results.#": 1}},
		refused("a namespace that is not there", "POST /v1/batches/list", `{"namespace_id":"none"}`, 404, "none"),
		Step{Name: "another organization", As: "other", Do: "POST /v1/batches/list", Check: map[string]any{"results.#": 0}},
		Step{Name: "another's batch", As: "other", Do: "GET /v1/batches/${one}", Status: 404},
		Step{Name: "canceled by another", As: "other", Do: "POST /v1/batches/${one}/cancel", Status: 404},
	)
}

func TestBatchBadInput(t *testing.T) {
	t.Parallel()
	s := tiers(t)
	s.films(t, scream("a"),
		wrong("ids that are text", "POST "+batches, `{"object_ids":"${a}"}`, "object_ids"),
		wrong("an id that is a number", "POST "+batches, `{"object_ids":["${a}",7]}`, "object_ids", 1),
		wrong("an object that is not there", "POST "+batches, `{"object_ids":["${a}","obj_none"]}`, "object_ids", 1),
		wrong("an object twice", "POST "+batches, `{"object_ids":["${a}","${a}"]}`, "object_ids", 1),
		wrong("a collection that is not there", "POST "+batches, `{"object_ids":["${a}"],"collection_ids":["texts","none"]}`, "collection_ids", 1),
		Step{Name: "a bucket that no collection reads", Do: "POST /v1/buckets", Events: bucketSaved, Body: `{"bucket_name":"unread","bucket_schema":{"properties":{}}}`},
		wrong("a collection of another bucket", "POST /v1/buckets/unread/batches", `{"collection_ids":["words"]}`, "collection_ids", 0),
		wrong("an empty filter", "POST "+batches, `{"filters":{}}`, "filters"),
		wrong("a null in a filter", "POST "+batches, `{"filters":{"AND":[null]}}`, "filters", "AND", 0),
		wrong("a limit of nothing", "POST "+batches, `{"limit":-1}`, "limit"),
		wrong("a strategy that is none", "POST "+batches, `{"dedup_strategy":"merge"}`, "dedup_strategy"),
		refused("NaN", "POST "+batches, `{"metadata":{"a":NaN}}`, 400, "not JSON"),
		refused("no such bucket", "POST /v1/buckets/none/batches", `{}`, 404, "none"),
		refused("no such batch", "GET "+batches+"/btch_none", "", 404, "btch_none"),
		refused("nothing to submit", "POST "+batches+"/btch_none/submit", "", 404, "btch_none"),
		refused("nothing to cancel", "POST /v1/batches/btch_none/cancel", "", 404, "btch_none"),
		refused("nothing to retry", "POST "+batches+"/btch_none/retry", `{}`, 404, "btch_none"),
		refused("nothing failed", "GET "+batches+"/btch_none/failed-documents", "", 404, "btch_none"),
		Step{Name: "a filter that matches nothing", Do: "POST " + batches, Events: batchSaved, Body: `{"filters":{"nothing":1}}`, Check: map[string]any{"object_ids.#": 0}, Save: map[string]string{"batch": "batch_id"}},
		wrong("nothing to add", "POST "+batches+"/${batch}/objects", `{"object_ids":[]}`, "object_ids"),
		wrong("an unknown object to add", "POST "+batches+"/${batch}/objects", `{"object_ids":["obj_none"]}`, "object_ids", 0),
		wrong("a webhook", "POST "+batches+"/${batch}/submit", `{"webhook_url":"http://example.com"}`, "webhook_url"),
		Step{Name: "created and submitted under a key", Do: "POST " + batches + "?auto_submit=true", Header: map[string]string{"Idempotency-Key": "k"}, Body: `{"object_ids":["${a}"]}`, Events: []string{"batch.saved", "batch.submitted"}, Save: map[string]string{"b": "batch_id", "task": "task_id"}},
		Step{Name: "repeated", Do: "POST " + batches + "?auto_submit=true", Header: map[string]string{"Idempotency-Key": "k"}, Body: `{"object_ids":["${a}"]}`, Check: map[string]any{"batch_id": "${b}", "task_id": "${task}"}},
		Step{Name: "with another body", Do: "POST " + batches + "?auto_submit=true", Header: map[string]string{"Idempotency-Key": "k"}, Body: `{}`, Status: 409},
		Step{Name: "retried under a key, too early", Do: "POST " + batches + "/${b}/retry", Header: map[string]string{"Idempotency-Key": "k"}, Body: `{}`, Status: 409},
	)
}
