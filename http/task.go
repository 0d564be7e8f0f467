package http

import (
	"cmp"
	"context"

	"varve/domain"
	"varve/eventstore"
	"varve/projections"
)

var _ = noun("task", (*Server).taskRoutes)

func (s *Server) taskRoutes() {
	read := needs{Permission: "read", Resource: "task", Narrows: true}
	s.route("GET", "/v1/tasks/{task_id}", read, handle(s.task))
	s.route("POST", "/v1/tasks/list", read, handle(s.listTasks))
	s.route("DELETE", "/v1/tasks/{task_id}", needs{Permission: "write", Resource: "task", Operation: "cancel_job", Narrows: true}, handle(s.killTask))
	s.route("POST", "/v1/tasks/{task_id}/kill", needs{Permission: "write", Resource: "task", Operation: "cancel_job", Narrows: true}, handle(s.killTask))
}

// taskOut is TaskResponse of the reference.
func taskOut(t projections.TaskRow) map[string]any {
	inputs := []string{}
	if id := cmp.Or(t.BatchID, t.BucketID); id != "" {
		inputs = append(inputs, id)
	}
	return map[string]any{
		"task_id": t.TaskID, "task_type": t.TaskType, "status": t.Status, "inputs": inputs, "outputs": []string{}, "error": textOrNull(t.Error),
		"additional_data": map[string]any{"batch_id": t.BatchID, "bucket_id": t.BucketID, "attempt": t.Attempt, "total_objects": t.Total, "processed_objects": t.Processed,
			"failed_objects": t.Failed, "documents_written": t.Documents, "total_tiers": t.Tiers, "completed_tiers": t.TierDone,
			"created_at": wireTime(t.Created), "updated_at": wireTime(t.Updated), "completed_at": wireTime(t.Completed)},
	}
}

func (s *Server) taskNow(ctx context.Context, c *Call, id string) (any, error) {
	t, _, err := s.findTask(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return taskOut(t), nil
}

func (s *Server) findTask(ctx context.Context, c *Call, id string) (projections.TaskRow, domain.Namespace, error) {
	if err := c.catchUp(ctx, s.Models, "batches"); err != nil {
		return projections.TaskRow{}, domain.Namespace{}, err
	}
	namespaces := c.ownNamespaces()
	logs := make([]eventstore.LogID, len(namespaces))
	for i, n := range namespaces {
		logs[i] = eventstore.LogID(n.Log)
	}
	t, err := s.Batches.FindTask(ctx, logs, id)
	if domain.CodeOf(err) == domain.CodeNotFound {
		t, err = s.finishedTask(ctx, c, id)
		return t, domain.Namespace{}, err
	}
	for i, l := range logs {
		if l == t.Log {
			return t, namespaces[i], err
		}
	}
	return t, domain.Namespace{}, err
}

func (s *Server) task(ctx context.Context, r *Request[None]) (any, error) {
	return s.taskNow(ctx, r.Call, r.Path("task_id"))
}

type taskListBody struct {
	listBody
	Status   string `json:"status" validate:"omitempty,oneof=PENDING QUEUED IN_PROGRESS PROCESSING COMPLETED COMPLETED_WITH_ERRORS FAILED CANCELED INTERRUPTED UNKNOWN SKIPPED DRAFT ACTIVE ARCHIVED SUSPENDED DEACTIVATED"`
	TaskType string `json:"task_type"`
}

func (s *Server) listTasks(ctx context.Context, r *Request[taskListBody]) (any, error) {
	p, err := r.Page()
	if err != nil {
		return nil, err
	}
	filter, err := r.filter()
	if err != nil {
		return nil, err
	}
	if err := r.catchUp(ctx, s.Models, "batches"); err != nil {
		return nil, err
	}
	var logs []eventstore.LogID
	for _, n := range r.ownNamespaces() {
		logs = append(logs, eventstore.LogID(n.Log))
	}
	page, err := s.Batches.Tasks(ctx, logs, projections.TaskQuery{Status: r.Body.Status, TaskType: r.Body.TaskType, Filter: filter, Search: r.Body.Search,
		After: p.Cursor, Offset: p.Offset, Limit: p.Limit, Total: p.IncludeTotal})
	if err != nil {
		return nil, err
	}
	results := make([]map[string]any, len(page.Items))
	for i, t := range page.Items {
		results[i] = taskOut(t)
	}
	total := -1
	if page.Total != nil {
		total = *page.Total
	}
	return listed(p, results, page.Next, total), nil
}

// killTask cancels what a task stands for; doing it again changes nothing.
func (s *Server) killTask(ctx context.Context, r *Request[None]) (any, error) {
	id := r.Path("task_id")
	t, n, err := s.findTask(ctx, r.Call, id)
	switch {
	case domain.CodeOf(err) == domain.CodeNotFound:
		return map[string]any{"success": true, "message": "there is no task " + id + ", so it does not run"}, nil
	case err != nil:
		return nil, err
	case n.ID == "", // it was over when it was named
		!t.Completed.IsZero(): // a later attempt of the batch has a task of its own
		return map[string]any{"success": true, "message": "task " + id + " had ended before"}, nil
	}
	r.Namespace = n
	if _, err := s.Commands.CancelBatch(ctx, r.In(), t.BatchID, "task killed"); err != nil && domain.CodeOf(err) != domain.CodeConflict {
		return nil, err
	}
	return map[string]any{"success": true, "message": "task " + t.TaskID + " was stopped"}, nil
}
