package http_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "varve/http/scenario"
)

var (
	batchSaved     = []string{"batch.saved"}
	batchSubmitted = []string{"batch.submitted"}
)

const (
	objects = "/v1/buckets/reviews/objects"
	batches = "/v1/buckets/reviews/batches"
)

// scream is an object with six words of text.
func scream(name string) Step {
	return Step{Name: "object " + name, Do: "POST " + objects, Events: objectSaved, Body: `{"title":"Alien","year":1979,"blobs":[{"property":"text","type":"text","data":"no one can hear you scream"}]}`, Save: map[string]string{name: "object_id"}}
}

// TestBatchScenario goes through a batch's life, over two tiers.
func TestBatchScenario(t *testing.T) {
	t.Parallel()
	s := tiers(t)
	s.films(t, scream("a"),
		Step{Name: "object without text", Do: "POST " + objects, Events: objectSaved, Body: `{"title":"Brazil"}`, Save: map[string]string{"b": "object_id"}},
		Step{Name: "draft", Do: "POST " + batches, Events: batchSaved, Body: `{"object_ids":["${a}"],"batch_name":"first","metadata":{"k":1}}`, Save: map[string]string{"batch": "batch_id"},
			Check: map[string]any{"batch_id": Match("^btch_"), "status": "DRAFT", "batch_name": "first", "object_ids.#": 1, "bucket_id": "${bucket}", "task_id": Absent, "documents_resolvable": false, "metadata.k": 1}},
		Step{Name: "add", Do: "POST " + batches + "/${batch}/objects", Events: batchSaved, Body: `{"object_ids":["${b}","${a}"]}`, Check: map[string]any{"object_ids.#": 2, "object_ids.1": "${b}"}},
		Step{Name: "rename", Do: "PATCH " + batches + "/${batch}", Events: batchSaved, Body: `{"batch_name":"second"}`, Check: map[string]any{"batch_name": "second", "metadata.k": 1}},
		Step{Name: "get", Do: "GET " + batches + "/${batch}", Check: map[string]any{"batch_name": "second", "object_ids.#": 2}},
		Step{Name: "not of another bucket", Do: "POST /v1/buckets", Events: bucketSaved, Body: `{"bucket_name":"empty","bucket_schema":{"properties":{}}}`},
		Step{Name: "is not there", Do: "GET /v1/buckets/empty/batches/${batch}", Status: 404},
		Step{Name: "audit of a draft", Do: "GET " + batches + "/${batch}/audit", Check: map[string]any{"all_balanced": true, "tiers.#": 0}},
		refused("no retry of a draft", "POST "+batches+"/${batch}/retry", `{}`, 409, "DRAFT"),
		Step{Name: "submit", Do: "POST " + batches + "/${batch}/submit", Events: batchSubmitted, Save: map[string]string{"task": "task_id"},
			Check: map[string]any{"task_id": Match("^task_"), "status": "PROCESSING", "inputs.0": "${batch}", "additional_data.total_objects": 2, "additional_data.total_tiers": 2}},
		Step{Name: "submitted", Do: "GET " + batches + "/${batch}", Check: map[string]any{"status": "PROCESSING", "task_id": "${task}", "total_tiers": 2, "dag_tiers.0.0": "${texts}", "dag_tiers.1.0": "${words}", "tier_tasks.0.status": "PROCESSING", "tier_tasks.1.status": "PENDING"}},
		Step{Name: "its objects", Do: "GET " + objects + "/${a}", Check: map[string]any{"status": "PROCESSING"}},
		refused("submitted twice", "POST "+batches+"/${batch}/submit", "", 409, "only a DRAFT"),
		refused("added too late", "POST "+batches+"/${batch}/objects", `{"object_ids":["${a}"]}`, 409, "PROCESSING"),
		refused("deleted too early", "DELETE "+batches+"/${batch}", "", 409, "cancel it first"),
		refused("retried too early", "POST "+batches+"/${batch}/retry", `{}`, 409, "PROCESSING"),
	)
	before := s.head(t)
	stop := s.run(t)
	s.films(t, Step{Name: "done", Do: "GET " + batches + "/${batch}", Until: true, Check: map[string]any{"status": "COMPLETED_WITH_ERRORS"}})
	stop()
	want := map[string]int{"document.written": 4, "object.extracted": 3, "object.failed": 1, "batch.tier_completed": 2, "batch.completed": 1}
	if got := count(s.records(t, before)); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the batch appended %v, want %v", got, want)
	}
	s.films(t,
		Step{Name: "batch", Do: "GET /v1/batches/${batch}", Namespace: "films", Check: map[string]any{"documents_written": 4, "failed_object_count": 1, "failed_objects.#": 1, "failed_objects.0.object_id": "${b}", "failed_objects.0.error_type": "permanent", "failed_objects.0.error": Match("input_mappings"),
			"error_summary.permanent": 1, "completed_at": Present, "documents_resolvable": true, "tier_tasks.0.status": "COMPLETED_WITH_ERRORS", "tier_tasks.1.status": "COMPLETED", "tier_tasks.1.documents_written": 3, "failure_reason": Match("1 of 2")}},
		Step{Name: "failed documents", Do: "GET " + batches + "/${batch}/failed-documents", Check: map[string]any{"total_count": 1, "failed_documents.0.object_id": "${b}", "failed_documents.0.collection_id": "${texts}", "failed_documents.0.tier_num": 0, "failed_documents.0.error": Present}},
		Step{Name: "of another tier", Do: "GET " + batches + "/${batch}/failed-documents?tier_num=1", Check: map[string]any{"total_count": 0}},
		Step{Name: "of a collection", Do: "GET " + batches + "/${batch}/failed-documents?collection_id=${texts}&limit=1", Check: map[string]any{"total_count": 1, "failed_documents.#": 1}},
		Step{Name: "audit", Do: "GET " + batches + "/${batch}/audit", Check: map[string]any{"all_balanced": true, "has_lost_objects": false, "tiers.0.submitted": 2, "tiers.0.processed": 1, "tiers.0.failed": 1, "tiers.0.lost": 0}},
		Step{Name: "task", Do: "GET /v1/tasks/${task}", Check: map[string]any{"status": "COMPLETED_WITH_ERRORS", "additional_data.documents_written": 4, "additional_data.failed_objects": 1, "additional_data.completed_tiers": 2}},
		Step{Name: "object", Do: "GET " + objects + "/${a}", Check: map[string]any{"status": "COMPLETED", "document_count": 4}},
		Step{Name: "failed object", Do: "GET " + objects + "/${b}", Check: map[string]any{"status": "FAILED", "error": Match("input_mappings")}},
		Step{Name: "bucket", Do: "GET /v1/buckets/reviews", Check: map[string]any{"failed_object_count": 1}},
		Step{Name: "collection", Do: "GET /v1/collections/words", Check: map[string]any{"document_count": 3}},
		Step{Name: "document", Do: "POST /v1/collections/texts/documents/list", Check: map[string]any{"results.#": 1, "results.0.title": "Alien", "results.0.made": 1979}, Save: map[string]string{"d": "results.0.document_id"}},
		Step{Name: "its words", Do: "POST /v1/collections/words/documents/list", Check: map[string]any{"results.#": 3, "results.0.title": "Alien", "results.0._internal.lineage.source_document_id": "${d}", "results.0._internal.lineage.root_object_id": "${a}"}, Save: map[string]string{"w": "results.0.document_id"}},
		Step{Name: "their lineage", Do: "GET /v1/documents/${w}/lineage", Check: map[string]any{"tree.object.object_id": "${a}", "depth": 1}},
		refused("canceled too late", "POST "+batches+"/${batch}/cancel", "", 409, "already"),
		Step{Name: "as it was before", Do: "POST /v1/collections/words/documents/list?as_of=" + fmt.Sprint(before), Check: map[string]any{"results.#": 0}},
	)
	retried := func(name, mode string, events []string, status string) {
		t.Helper()
		s.films(t, Step{Name: name, Do: "POST " + batches + "/${batch}/retry", Body: `{"retry_mode":"` + mode + `"}`, Events: batchSubmitted, Check: map[string]any{"batch_id": "${batch}", "retry_mode": mode}, Save: map[string]string{"again": "task_id"}})
		before := s.head(t)
		stop := s.run(t)
		s.films(t, Step{Name: name + ", done", Do: "GET /v1/tasks/${again}", Until: true, Check: map[string]any{"status": status}})
		stop()
		want := map[string]int{}
		for _, e := range events {
			want[e]++
		}
		if got := count(s.records(t, before)); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s appended %v, want %v", name, got, want)
		}
	}
	retried("retry what is transient", "transient_only", []string{"object.failed", "batch.tier_completed", "batch.tier_completed", "batch.completed"}, "COMPLETED_WITH_ERRORS")
	s.films(t,
		Step{Name: "still failed, and why", Do: "GET " + batches + "/${batch}/failed-documents", Check: map[string]any{"total_count": 1, "failed_documents.0.error": Match("input_mappings"), "failed_documents.0.error_type": "permanent"}},
		Step{Name: "the object too", Do: "GET " + objects + "/${b}", Check: map[string]any{"status": "FAILED", "error": Match("input_mappings")}},
		Step{Name: "its task is another", Do: "GET " + batches + "/${batch}", Check: map[string]any{"retry_count": 1, "task_id": "${again}", "failed_object_count": 1, "documents_written": 4}},
		Step{Name: "the old task ended as it did", Do: "GET /v1/tasks/${task}", Check: map[string]any{"status": "COMPLETED_WITH_ERRORS", "additional_data.attempt": 1}},
		Step{Name: "mend", Do: "PATCH " + objects + "/${b}", Events: objectSaved, Body: `{"text":"ducts"}`},
	)
	retried("retry what was mended", "all", []string{"document.written", "object.extracted", "document.written", "object.extracted", "batch.tier_completed", "batch.tier_completed", "batch.completed"}, "COMPLETED")
	s.films(t,
		Step{Name: "none failed", Do: "GET " + batches + "/${batch}/failed-documents", Check: map[string]any{"total_count": 0}},
		Step{Name: "completed", Do: "GET " + objects + "/${b}", Check: map[string]any{"status": "COMPLETED", "error": Absent, "document_count": 2}},
		refused("a mode that is none", "POST "+batches+"/${batch}/retry", `{"retry_mode":"some"}`, 422, "retry_mode.*transient_only"),
		refused("single tiers", "POST "+batches+"/${batch}/retry", `{"tier_nums":[1]}`, 422, "tier_nums"),
		Step{Name: "delete", Do: "DELETE " + batches + "/${batch}", Events: []string{"batch.deleted"}},
		Step{Name: "deleted", Do: "GET " + batches + "/${batch}", Status: 404},
		Step{Name: "its documents stay", Do: "GET /v1/collections/words", Check: map[string]any{"document_count": 4}},
	)
}

// TestExtractionFollowsObjects: what was derived changes and goes with the object.
func TestExtractionFollowsObjects(t *testing.T) {
	t.Parallel()
	s := tiers(t)
	stop := s.run(t)
	process := func(name string) {
		t.Helper()
		s.films(t,
			Step{Name: name, Do: "POST " + batches, AnyEvents: true, Body: `{"object_ids":["${a}"],"auto_submit":true}`, Save: map[string]string{"batch": "batch_id"}},
			Step{Name: name + ", done", Do: "GET " + batches + "/${batch}", Until: true, Check: map[string]any{"status": "COMPLETED"}})
	}
	s.films(t, scream("a"))
	process("first")
	s.Vars["first"] = fmt.Sprint(s.head(t))
	s.films(t,
		Step{Name: "one and three", Do: "GET " + objects + "/${a}/", Check: map[string]any{"document_count": 4}},
		Step{Name: "in detail", Do: "POST /v1/documents/list", Check: map[string]any{"results.#": 4}},
		Step{Name: "change", Do: "PATCH " + objects + "/${a}", AnyEvents: true, Body: `{"title":"Aliens","blobs":[{"property":"text","type":"text","data":"two words"}]}`, Check: map[string]any{"status": "PENDING"}},
		Step{Name: "not yet extracted", Do: "GET /v1/collections/words", Check: map[string]any{"document_count": 3}},
	)
	before := s.head(t)
	process("second")
	if got := count(s.records(t, before)); got["document.written"] != 2 || got["document.deleted"] != 2 {
		t.Errorf("the second extraction appended %v; want 2 documents written and 2 deleted", got)
	}
	s.films(t,
		Step{Name: "one and one", Do: "POST /v1/collections/words/documents/list", Check: map[string]any{"results.#": 1, "results.0.title": "Aliens", "results.0.text": "two words"}},
		Step{Name: "as they were", Do: "POST /v1/collections/words/documents/list?as_of=${first}", Check: map[string]any{"results.#": 3, "results.0.title": "Alien"}},
		Step{Name: "counted as they were", Do: "GET /v1/collections/words?as_of=${first}", Check: map[string]any{"document_count": 3}},
	)
	before = s.head(t)
	process("third, of the same")
	if got := count(s.records(t, before)); got["document.deleted"] != 0 {
		t.Errorf("extracting the same again appended %v", got)
	}
	stop()
	s.films(t,
		Step{Name: "delete", Do: "DELETE " + objects + "/${a}", Events: []string{"object.deleted", "document.deleted", "document.deleted"}},
		Step{Name: "nothing is left", Do: "POST /v1/documents/list", Check: map[string]any{"results.#": 0}},
		Step{Name: "of it nothing is derived", Do: "GET /v1/objects/${a}/derived", Status: 404},
		Step{Name: "as of then, it is", Do: "POST /v1/documents/list?as_of=${first}", Check: map[string]any{"results.#": 4}},
	)
}

// hundred writes a hundred objects and a batch of them.
func (s *served) hundred(t *testing.T) {
	t.Helper()
	one := `{"title":"x","blobs":[{"property":"text","type":"text","data":"no one can hear you scream"}]}`
	many := make([]string, 100)
	for i := range many {
		many[i] = "object.saved"
	}
	s.films(t,
		Step{Name: "objects", Do: "POST " + objects + "/batch", Events: many, Body: `{"objects":[` + one + strings.Repeat(","+one, 99) + `]}`, Check: map[string]any{"succeeded_count": 100}},
		Step{Name: "batch", Do: "POST " + batches, Events: batchSaved, Body: `{"filters":{"title":"x"},"collection_ids":["texts"]}`, Check: map[string]any{"object_ids.#": 100, "collection_ids.0": "${texts}"}, Save: map[string]string{"batch": "batch_id"}},
		Step{Name: "submit", Do: "POST " + batches + "/${batch}/submit", Events: batchSubmitted, Save: map[string]string{"task": "task_id"}},
	)
}

// begun waits until something is appended after a position of the feed.
func (s *served) begun(t *testing.T, after uint64) {
	t.Helper()
	if err := s.Store.Wait(context.Background(), 0, after); err != nil {
		t.Fatal(err)
	}
}

// TestBatchGoesOn: a batch that was interrupted is finished by the next that
// runs batches, and writes nothing twice.
func TestBatchGoesOn(t *testing.T) {
	t.Parallel()
	s := tiers(t)
	s.hundred(t)
	before := s.head(t)
	for range 3 {
		head, err := s.Store.Head(context.Background(), 0)
		if err != nil {
			t.Fatal(err)
		}
		stop := s.run(t)
		s.begun(t, head)
		stop()
	}
	if got := count(s.records(t, before)); got["batch.completed"] != 0 || got["object.extracted"] == 0 {
		t.Fatalf("not interrupted in its midst: %v", got)
	}
	stop := s.run(t)
	s.films(t,
		Step{Name: "rename it while it runs", Do: "PATCH " + batches + "/${batch}", AnyEvents: true, Body: `{"batch_name":"renamed"}`},
		Step{Name: "done", Do: "GET " + batches + "/${batch}", Until: true, Check: map[string]any{"status": "COMPLETED", "documents_written": 100, "batch_name": "renamed"}})
	stop()
	written := map[string]int{}
	for _, r := range s.records(t, before) {
		written[r.Stream+" "+r.Type]++
	}
	for what, n := range written {
		if n != 1 {
			t.Errorf("%s: %d times", what, n)
		}
	}
	if len(written) != 203 {
		t.Errorf("%d streams, want 100 documents, 100 objects and three events of the batch", len(written))
	}
	after := s.head(t)
	s.run(t)()
	if got := s.records(t, after); len(got) != 0 {
		t.Errorf("a finished batch was run again: %v", count(got))
	}
}

// TestBatchIsCanceled: nothing more is begun; what is done stays, and a retry does the rest.
func TestBatchIsCanceled(t *testing.T) {
	t.Parallel()
	s := tiers(t)
	s.hundred(t)
	head, err := s.Store.Head(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	before := s.head(t)
	stop := s.run(t)
	s.begun(t, head)
	s.films(t,
		Step{Name: "cancel", Do: "POST " + batches + "/${batch}/cancel?reason=enough", AnyEvents: true, Check: map[string]any{"task_id": "${task}", "status": "CANCELED"}},
		Step{Name: "canceled", Do: "GET " + batches + "/${batch}", Check: map[string]any{"status": "CANCELED", "lifecycle_reason": "enough"}},
		refused("canceled twice", "POST /v1/batches/${batch}/cancel", "", 409, "CANCELED"),
		Step{Name: "killing its task changes nothing", Do: "POST /v1/tasks/${task}/kill", AnyEvents: true, Check: map[string]any{"success": true}},
	)
	stop()
	records := s.records(t, before)
	if last := records[len(records)-1]; last.Type != "batch.canceled" || last.Meta.Origin != "http" {
		t.Fatalf("after it was canceled, the batch appended %s", last.Type)
	}
	done := count(records)["object.extracted"]
	s.films(t, Step{Name: "retry", Do: "POST " + batches + "/${batch}/retry", Body: `{"retry_mode":"all"}`, Events: batchSubmitted})
	rest := s.head(t)
	stop = s.run(t)
	s.films(t, Step{Name: "done", Do: "GET " + batches + "/${batch}", Until: true, Check: map[string]any{"status": "COMPLETED", "documents_written": 100}})
	stop()
	if again := count(s.records(t, rest))["object.extracted"]; done+again != 100 {
		t.Errorf("%d objects before it was canceled and %d after: want 100 together", done, again)
	}
	s.films(t,
		Step{Name: "a draft", Do: "POST " + batches, Events: batchSaved, Body: `{}`, Save: map[string]string{"draft": "batch_id"}, Check: map[string]any{"object_ids.#": 0}},
		refused("without objects", "POST "+batches+"/${draft}/submit", "", 400, "no objects"),
		Step{Name: "is canceled too", Do: "POST /v1/batches/${draft}/cancel", Events: []string{"batch.canceled"}, Check: map[string]any{"status": "CANCELED"}},
	)
}

// TestBatchOfUnreadableBlobs: an object fails by itself, with its reason and whether trying again may help.
func TestBatchOfUnreadableBlobs(t *testing.T) {
	t.Parallel()
	s := tiers(t)
	long := func(name, word string) Step {
		return Step{Name: "object " + name, Do: "POST " + objects, Events: objectSaved, Body: `{"blobs":[{"property":"text","type":"text","data":"` + strings.Repeat(word+" ", 20000) + `"}]}`, Save: map[string]string{name: "object_id", name + "hash": "blobs.0.details.hash"}}
	}
	s.films(t, long("gone", "gone"), long("broken", "word"), scream("fine"))
	find := func(digest string) string {
		t.Helper()
		found := ""
		digest = strings.TrimPrefix(digest, "sha256:")
		err := filepath.WalkDir(filepath.Join(s.varve.Config.Data, "blobs"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.Contains(d.Name(), digest[8:32]) {
				found = path
			}
			return err
		})
		if err != nil || found == "" {
			t.Fatalf("no blob %s: %v", digest, err)
		}
		return found
	}
	gone, broken := find(s.Vars["gonehash"]), find(s.Vars["brokenhash"])
	aside := t.TempDir()
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(gone, filepath.Join(aside, "gone"))
	move(broken, filepath.Join(aside, "broken"))
	if err := os.Mkdir(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	s.run(t)
	s.films(t,
		Step{Name: "batch", Do: "POST " + batches + "?auto_submit=true", AnyEvents: true, Body: `{"object_ids":["${gone}","${broken}","${fine}"],"collection_ids":["texts"]}`, Save: map[string]string{"batch": "batch_id"}},
		Step{Name: "done", Do: "GET " + batches + "/${batch}", Until: true, Check: map[string]any{"status": "COMPLETED_WITH_ERRORS", "failed_object_count": 2, "documents_written": 1, "error_summary.transient": 1, "error_summary.permanent": 1}},
	)
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	move(filepath.Join(aside, "broken"), broken)
	move(filepath.Join(aside, "gone"), gone)
	s.films(t,
		Step{Name: "what is transient", Do: "POST " + batches + "/${batch}/retry", AnyEvents: true, Body: `{}`, Check: map[string]any{"retry_mode": "transient_only"}},
		Step{Name: "is tried again", Do: "GET " + batches + "/${batch}", Until: true, Check: map[string]any{"status": "COMPLETED_WITH_ERRORS", "retry_count": 1, "failed_object_count": 1, "documents_written": 2, "failed_objects.0.object_id": "${gone}", "failed_objects.0.error": Match("gone")}},
		Step{Name: "all", Do: "POST " + batches + "/${batch}/retry", AnyEvents: true, Body: `{"retry_mode":"all"}`},
		Step{Name: "are tried again", Do: "GET " + batches + "/${batch}", Until: true, Check: map[string]any{"status": "COMPLETED", "failed_object_count": 0, "documents_written": 3}},
	)
}
