package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"varve/domain"
	"varve/eventstore"
)

func saved(id, bucket string, size int) *domain.ObjectSaved {
	return &domain.ObjectSaved{Object: domain.Object{ObjectID: id, BucketID: bucket, ConfigVersion: 1, Fields: map[string]json.RawMessage{"sku": json.RawMessage(fmt.Sprintf(`"%s!"`, id))},
		Blobs: []domain.Blob{{Property: "text", Type: "text", Size: int64(size)}}}}
}

func TestObjectsAndTheirStatus(t *testing.T) {
	objects := NewObjects()
	s := newStage(t, objects)
	ctx := context.Background()
	status := func(at At, ids ...string) (out []string) {
		for _, id := range ids {
			o := must[ObjectRow](t)(objects.Object(ctx, at, "b1", id))
			out = append(out, o.Status+o.Error)
		}
		return out
	}
	first := s.put(saved("o1", "b1", 10), saved("o2", "b1", 30), saved("o3", "b1", 5), saved("x", "b2", 1))
	expect(t, "new", status(first, "o1", "o2"), []string{"PENDING", "PENDING"})
	submitted := &domain.BatchSubmitted{BatchID: "bt", BucketID: "b1", TaskID: "task_1", Attempt: 1, Tiers: [][]string{{"c1"}, {"c2"}}, ObjectIDs: []string{"o1", "o2", "o3"}}
	at := s.put(submitted, &domain.ObjectExtracted{ObjectID: "o1", BatchID: "bt", Attempt: 1, CollectionID: "c1"},
		&domain.ObjectFailed{ObjectID: "o2", BatchID: "bt", Attempt: 1, CollectionID: "c1", Error: " no text"})
	expect(t, "under way", status(at, "o1", "o2", "o3"), []string{"PROCESSING", "FAILED no text", "PROCESSING"})
	at = s.put(&domain.ObjectExtracted{ObjectID: "o1", BatchID: "bt", Attempt: 1, CollectionID: "c2"})
	expect(t, "one is done", status(at, "o1", "o3"), []string{"COMPLETED", "PROCESSING"})
	at = s.put(&domain.BatchCompleted{BatchID: "bt", TaskID: "task_1", Attempt: 1, Status: domain.StatusCompletedWithErrors})
	expect(t, "ended", status(at, "o1", "o2", "o3"), []string{"COMPLETED", "FAILED no text", "COMPLETED"})
	totals := must[map[string]BucketTotals](t)(objects.Totals(ctx, at))["b1"]
	expect(t, "totals", []int64{int64(totals.Objects), int64(totals.Failed), totals.SizeBytes, totals.MaxBytes, totals.MinBytes}, []int64{3, 1, 45, 30, 5})

	again := *submitted
	again.Attempt, again.ObjectIDs = 2, []string{"o2"}
	at = s.put(&again)
	expect(t, "retried", status(at, "o1", "o2"), []string{"COMPLETED", "PROCESSING"})
	at = s.put(&domain.BatchCanceled{BatchID: "bt"}, saved("o1", "b1", 20))
	expect(t, "canceled, and saved again", status(at, "o1", "o2"), []string{"PENDING", "PENDING"})

	o := must[ObjectRow](t)(objects.Object(ctx, at, "", "o1"))
	if !o.Updated.After(o.Created) && o.Version < 2 {
		t.Errorf("saved again it is %+v", o)
	}
	if _, err := objects.Object(ctx, at, "b2", "o1"); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("in another bucket: %v", err)
	}
	page := must[Page[ObjectRow]](t)(objects.List(ctx, at, ObjectQuery{BucketID: "b1", Limit: 2, Total: true, Sort: []Sort{{"object_id", true}}}))
	expect(t, "list", []any{page.Items[0].ObjectID, page.Items[1].ObjectID, *page.Total}, []any{"o3", "o2", 3})
	page = must[Page[ObjectRow]](t)(objects.List(ctx, at, ObjectQuery{BucketID: "b1", After: page.Next, Limit: 2, Sort: []Sort{{"object_id", true}}}))
	expect(t, "next", []any{len(page.Items), page.Items[0].ObjectID, page.Next}, []any{1, "o1", ""})

	deleted := s.put(&domain.ObjectDeleted{ObjectID: "o2"}, &domain.BucketSaved{Bucket: domain.Bucket{BucketID: "b1"}}, &domain.BucketDeleted{BucketID: "b1"}, saved("late", "b1", 1))
	expect(t, "then and now", []int{must[int](t)(objects.Count(ctx, at, "b1")), must[int](t)(objects.Count(ctx, deleted, "b1")), must[int](t)(objects.Count(ctx, deleted, ""))}, []int{3, 0, 1})
}

func TestBatchProgressAndTasks(t *testing.T) {
	batches := NewBatches()
	s := newStage(t, batches)
	ctx := context.Background()
	draft := domain.Batch{BatchID: "bt", BucketID: "b1", Name: "first", ObjectIDs: []string{"o1", "o2", "o3"}, Metadata: json.RawMessage(`{"k":1}`)}
	s.put(&domain.BatchSaved{Batch: draft})
	b := must[BatchRow](t)(batches.Batch(ctx, s.log, "bt"))
	expect(t, "draft", []any{b.Status, b.Total, b.Attempt, b.Name}, []any{"DRAFT", 3, 0, "first"})

	done := func(object, collection string, documents ...string) *domain.ObjectExtracted {
		return &domain.ObjectExtracted{ObjectID: object, BatchID: "bt", Attempt: 1, CollectionID: collection, Documents: documents}
	}
	s.put(&domain.BatchSubmitted{BatchID: "bt", BucketID: "b1", TaskID: "task_1", Attempt: 1, Tiers: [][]string{{"c1", "c2"}, {"c3"}}, ObjectIDs: draft.ObjectIDs},
		done("o1", "c1", "d1", "d2"), done("o1", "c2", "d3"), done("o2", "c1"),
		&domain.ObjectFailed{ObjectID: "o3", BatchID: "bt", Attempt: 1, CollectionID: "c1", ErrorType: "permanent", Error: "empty"})
	b = must[BatchRow](t)(batches.Batch(ctx, s.log, "bt"))
	expect(t, "under way", []any{b.Status, b.Total, b.Failed, b.Documents, b.Tiers[0].Processed, b.Tiers[1].Processed, b.Processed}, []any{"PROCESSING", 3, 1, 3, 1, 0, 1})
	expect(t, "percent", fmt.Sprintf("%.1f", b.Percent), "16.7")
	if len(b.FailedObjects) != 1 || b.FailedObjects[0].ObjectID != "o3" || b.FailedObjects[0].ErrorType != "permanent" || b.FailedObjects[0].Time.IsZero() {
		t.Errorf("failed %+v", b.FailedObjects)
	}
	active := must[[]BatchRow](t)(batches.Active(ctx))
	expect(t, "active", []any{len(active), active[0].Log}, []any{1, s.log})
	task := must[TaskRow](t)(batches.FindTask(ctx, []eventstore.LogID{s.log}, "task_1"))
	expect(t, "task", []any{task.TaskType, task.Status, task.Total, task.Processed, task.Failed, task.Tiers, task.BatchID}, []any{"api_buckets_batches_process", "PROCESSING", 3, 1, 1, 2, "bt"})

	s.put(&domain.BatchTierCompleted{BatchID: "bt", Attempt: 1, Tier: 0}, done("o1", "c3"), done("o2", "c3"))
	b = must[BatchRow](t)(batches.Batch(ctx, s.log, "bt"))
	expect(t, "second tier", []any{b.TierDone, b.Tiers[0].Done, b.Tiers[0].Processed, b.Tiers[1].Processed, b.Processed, b.Tiers[0].Completed.IsZero()}, []any{1, true, 3, 2, 2, false})
	s.put(&domain.BatchCompleted{BatchID: "bt", BucketID: "b1", TaskID: "task_1", Attempt: 1, Status: domain.StatusCompletedWithErrors, Objects: 3, Failed: 1, Documents: 3})
	b = must[BatchRow](t)(batches.Batch(ctx, s.log, "bt"))
	expect(t, "ended", []any{b.Status, b.Processed, b.Percent, b.Failed, b.Documents, b.Completed.IsZero()}, []any{"COMPLETED_WITH_ERRORS", 3, 100.0, 1, 3, false})

	s.put(&domain.BatchSubmitted{BatchID: "bt", BucketID: "b1", TaskID: "task_2", Attempt: 2, Tiers: [][]string{{"c1"}}, ObjectIDs: []string{"o3"}})
	b = must[BatchRow](t)(batches.Batch(ctx, s.log, "bt"))
	expect(t, "second attempt", []any{b.Total, b.Failed, b.Processed, len(b.FailedObjects), b.Completed.IsZero()}, []any{1, 0, 0, 0, true})
	task = must[TaskRow](t)(batches.FindTask(ctx, []eventstore.LogID{"other", s.log}, "task_1"))
	expect(t, "first task", []any{task.Status, task.Processed, task.Failed, task.Documents, task.Percent}, []any{"COMPLETED_WITH_ERRORS", 3, 1, 3, 100.0})
	if _, err := batches.FindTask(ctx, []eventstore.LogID{"other"}, "task_1"); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("a task of another log gave %v", err)
	}
	s.put(&domain.BatchCanceled{BatchID: "bt", TaskID: "task_2", Reason: "enough"})
	task = must[TaskRow](t)(batches.FindTask(ctx, []eventstore.LogID{s.log}, "task_2"))
	expect(t, "canceled", []any{task.Status, task.Error, task.Processed}, []any{"CANCELED", "enough", 0})

	for i := range 5 {
		s.put(&domain.BatchSaved{Batch: domain.Batch{BatchID: fmt.Sprintf("b%d", i), BucketID: fmt.Sprintf("b%d", i%2)}})
	}
	page := must[Page[BatchRow]](t)(batches.List(ctx, s.log, BatchQuery{Limit: 3, Total: true}))
	expect(t, "newest first", []any{page.Items[0].BatchID, page.Items[2].BatchID, *page.Total}, []any{"b4", "b2", 6})
	s.put(&domain.BatchSaved{Batch: domain.Batch{BatchID: "newer", BucketID: "b1"}}, &domain.BatchDeleted{BatchID: "b2"})
	page = must[Page[BatchRow]](t)(batches.List(ctx, s.log, BatchQuery{Limit: 3, After: page.Next}))
	expect(t, "then", []any{page.Items[0].BatchID, page.Items[1].BatchID, len(page.Items), page.Next}, []any{"b1", "b0", 3, ""})
	expect(t, "by bucket", len(must[Page[BatchRow]](t)(batches.List(ctx, s.log, BatchQuery{BucketID: "b0"})).Items), 2)
	expect(t, "by collection", len(must[Page[BatchRow]](t)(batches.List(ctx, s.log, BatchQuery{CollectionID: "c1"})).Items), 1)
	expect(t, "by status", len(must[Page[BatchRow]](t)(batches.List(ctx, s.log, BatchQuery{Status: "CANCELED"})).Items), 1)
	if _, err := batches.Batch(ctx, s.log, "b2"); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("a deleted batch gave %v", err)
	}
	tasks := must[Page[TaskRow]](t)(batches.Tasks(ctx, []eventstore.LogID{s.log}, TaskQuery{Limit: 1, Total: true}))
	expect(t, "tasks", []any{tasks.Items[0].TaskID, *tasks.Total}, []any{"task_2", 2})
	tasks = must[Page[TaskRow]](t)(batches.Tasks(ctx, []eventstore.LogID{s.log}, TaskQuery{Limit: 1, After: tasks.Next}))
	expect(t, "older tasks", []any{tasks.Items[0].TaskID, tasks.Next}, []any{"task_1", ""})
}

func TestDirectory(t *testing.T) {
	d := NewDirectory()
	s := newStage(t, d)
	ctx := context.Background()
	key := domain.APIKey{KeyID: "key_1", UserID: "usr_1", Name: "admin", Prefix: "sk_live_a", Hash: "h"}
	s.put(&domain.OrganizationCreated{OrganizationID: "org_1", Name: "One"}, &domain.UserSaved{User: domain.User{UserID: "usr_1", Email: "a@b.c", Role: "admin"}}, &domain.APIKeySaved{APIKey: key},
		&domain.NamespaceCreated{NamespaceID: "ns_1", Name: "n", Log: "L1"}, &domain.NamespaceCreated{NamespaceID: "ns_2", Name: "m", Log: "L2"}, &domain.NamespaceDeleted{NamespaceID: "ns_2"})
	e := must[KeyEntry](t)(d.KeyByPrefix(ctx, "sk_live_a"))
	expect(t, "key", []any{e.OrgID, e.OrgLog, e.Key.KeyID, e.Key.Hash, e.User.Email, e.Key.CreatedAt.IsZero(), e.Key.RevokedAt.IsZero()}, []any{"org_1", s.log, "key_1", "h", "a@b.c", false, true})
	key.Prefix, key.PreviousPrefix = "sk_live_b", "sk_live_a"
	s.put(&domain.APIKeySaved{APIKey: key})
	for _, prefix := range []string{"sk_live_a", "sk_live_b"} {
		expect(t, "rotated", must[KeyEntry](t)(d.KeyByPrefix(ctx, prefix)).Key.Prefix, "sk_live_b")
	}
	s.put(&domain.APIKeyRevoked{KeyID: "key_1"}, &domain.UserDeleted{UserID: "usr_1", Email: "a@b.c"})
	e = must[KeyEntry](t)(d.KeyByPrefix(ctx, "sk_live_b"))
	expect(t, "revoked", []any{e.Key.RevokedAt.IsZero(), e.User.UserID}, []any{false, ""})
	for _, prefix := range []string{"", "sk_live_"} {
		if _, err := d.KeyByPrefix(ctx, prefix); domain.CodeOf(err) != domain.CodeNotFound {
			t.Errorf("prefix %q gave %v", prefix, err)
		}
	}
	expect(t, "organization", must[OrganizationEntry](t)(d.Organization(ctx, "org_1")).Log, s.log)
	if _, err := d.Organization(ctx, "org_2"); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("no organization gave %v", err)
	}
	ns := must[[]NamespaceEntry](t)(d.NamespaceLogs(ctx))
	expect(t, "namespaces", []any{len(ns), ns[0].Log, ns[0].OrgID, ns[0].Name}, []any{1, "L1", "org_1", "n"})
	expect(t, "organizations", len(must[[]OrganizationEntry](t)(d.Organizations(ctx))), 1)
}

func TestTraces(t *testing.T) {
	traces := NewTraces()
	s := newStage(t, traces)
	ctx := context.Background()
	for i := range 7 {
		e := &domain.ExecutionRecorded{ExecutionID: fmt.Sprintf("exec_%d", i), Mode: "retriever", RetrieverID: "ret_1", Status: "completed", Position: 99, DurationMicros: int64(i) * 1000}
		if i%3 == 0 {
			e.Mode, e.RetrieverID, e.Status = "adhoc", "", "failed"
		}
		s.put(e)
	}
	s.put()
	row := must[TraceRow](t)(traces.Execution(ctx, s.log, "exec_3"))
	expect(t, "where it lies", []any{row.Log, row.Position, row.ExecutionRecorded.Position, row.Mode, row.Record.IsZero(), row.Time.IsZero()}, []any{s.log, 4, 99, "adhoc", false, false})
	if _, err := traces.Execution(ctx, "another", "exec_3"); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("of another namespace: %v", err)
	}
	names := func(p Page[TraceRow]) (out []string) {
		for _, r := range p.Items {
			out = append(out, r.ExecutionID)
		}
		return out
	}
	page := must[Page[TraceRow]](t)(traces.List(ctx, s.log, TraceQuery{RetrieverID: "ret_1", Limit: 3, Total: true}))
	expect(t, "first page", []any{names(page), *page.Total}, []any{[]string{"exec_5", "exec_4", "exec_2"}, 4})
	s.put(&domain.ExecutionRecorded{ExecutionID: "new", Mode: "retriever", RetrieverID: "ret_1"})
	page = must[Page[TraceRow]](t)(traces.List(ctx, s.log, TraceQuery{RetrieverID: "ret_1", Limit: 3, After: page.Next}))
	expect(t, "second page", []any{names(page), page.Next}, []any{[]string{"exec_1"}, ""})
	own := s.log
	s.log = ExecutionLog(own, 3)
	s.put(&domain.ExecutionRecorded{ExecutionID: "zz_other_process", Mode: "retriever", RetrieverID: "ret_1"})
	s.log = own
	row = must[TraceRow](t)(traces.Execution(ctx, s.log, "zz_other_process"))
	expect(t, "of another process", []any{row.Log, row.Position}, []any{eventstore.LogID(string(own) + "@3"), uint64(1)})
	page = must[Page[TraceRow]](t)(traces.List(ctx, s.log, TraceQuery{RetrieverID: "ret_1", Limit: 2}))
	expect(t, "newest of all", names(page), []string{"zz_other_process", "new"})
	expect(t, "ad hoc", names(must[Page[TraceRow]](t)(traces.List(ctx, s.log, TraceQuery{Mode: "adhoc", Status: "failed", Limit: 2}))), []string{"exec_6", "exec_3"})
	slow := must[*domain.Filter](t)(domain.Where("duration_ms", domain.OpGte, json.Number("4")))
	expect(t, "filtered", names(must[Page[TraceRow]](t)(traces.List(ctx, s.log, TraceQuery{Filter: slow, Sort: []Sort{{"duration_ms", false}}}))), []string{"exec_4", "exec_5", "exec_6"})
}
