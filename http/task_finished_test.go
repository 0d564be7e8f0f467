package http_test

import (
	"strconv"
	"testing"

	. "varve/http/scenario"
)

// TestFinishedTaskOfManyDrafts: a canceled draft is found among more than a page of others.
func TestFinishedTaskOfManyDrafts(t *testing.T) {
	t.Parallel()
	s := films(t)
	s.films(t,
		Step{Do: "POST /v1/buckets", Events: bucketSaved, Body: `{"bucket_name":"b","bucket_schema":{"properties":{"text":{"type":"text"}}}}`},
		Step{Do: "POST /v1/buckets/b/objects", AnyEvents: true, Body: `{"blobs":[{"property":"text","type":"text","data":"rain"}]}`, Save: map[string]string{"object": "object_id"}},
	)
	for i := range 101 { // the first is the last in the list
		name := "task" + strconv.Itoa(i)
		s.films(t,
			Step{Do: "POST /v1/buckets/b/batches", AnyEvents: true, Body: `{"object_ids":["${object}"]}`, Save: map[string]string{"batch": "batch_id"}},
			Step{Do: "POST /v1/buckets/b/batches/${batch}/cancel", AnyEvents: true, Save: map[string]string{name: "task_id"}})
	}
	s.films(t, Step{Do: "GET /v1/tasks/${task0}", Check: map[string]any{"task_id": "${task0}", "status": "CANCELED"}})
}

// TestFinishedTasks polls tasks that were over when their names were given out.
func TestFinishedTasks(t *testing.T) {
	t.Parallel()
	s := films(t)
	task := func(name, status, kind string) Step {
		return Step{Name: "poll " + name, Do: "GET /v1/tasks/${" + name + "}", Check: map[string]any{"task_id": "${" + name + "}", "status": status, "task_type": kind}}
	}
	s.films(t,
		Step{Do: "POST /v1/buckets", Events: bucketSaved, Body: `{"bucket_name":"b","bucket_schema":{"properties":{"text":{"type":"text"}}}}`},
		Step{Do: "POST /v1/buckets/b/objects", AnyEvents: true, Body: `{"blobs":[{"property":"text","type":"text","data":"rain"}]}`, Save: map[string]string{"object": "object_id"}},
		Step{Do: "POST /v1/buckets/b/batches", AnyEvents: true, Body: `{"object_ids":["${object}"]}`, Save: map[string]string{"batch": "batch_id"}},
		Step{Do: "POST /v1/buckets/b/batches/${batch}/cancel", AnyEvents: true, Check: map[string]any{"status": "CANCELED"}, Save: map[string]string{"canceled": "task_id"}},
		task("canceled", "CANCELED", "api_buckets_batches_process"),
		Step{Do: "DELETE /v1/buckets/b", Events: []string{"bucket.deleted"}, Check: map[string]any{"bucket_name": "b", "object_count": 1}, Save: map[string]string{"bucket": "task_id"}},
		task("bucket", "COMPLETED", "api_buckets_delete"),
		Step{Name: "nothing is left to kill", Do: "DELETE /v1/tasks/${bucket}", Check: map[string]any{"success": true}},
		Step{Name: "nor is there", Do: "DELETE /v1/tasks/task_none", Check: map[string]any{"success": true}},
		Step{Name: "another organization", As: "other", Do: "GET /v1/tasks/${bucket}", Status: 404},
	)
	s.Play(t,
		Step{Do: "DELETE /v1/namespaces/films", AnyEvents: true, Save: map[string]string{"namespace": "task_id"}},
		task("namespace", "COMPLETED", "api_namespaces_delete"),
		Step{Name: "under the header of what is gone", Namespace: "films", Do: "GET /v1/tasks/${namespace}", Check: map[string]any{"status": "COMPLETED"}},
		Step{Name: "another organization", As: "other", Do: "GET /v1/tasks/${namespace}", Status: 404},
	)
}
