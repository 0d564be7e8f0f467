package http

import (
	"context"

	"varve/domain"
	"varve/eventstore"
	"varve/projections"
)

// finishedTask finds a task that was over when its name was given out: the
// deletion of a bucket or a namespace, which is one append; the cancellation of
// a draft; the trigger of a collection whose buckets are empty. Nothing is kept
// of such a task: its id is derived from what it was about, so that a client
// that polls it is told that it ended.
func (s *Server) finishedTask(ctx context.Context, c *Call, id string) (projections.TaskRow, error) {
	is := func(what, about string) bool { return id == domain.DeriveID(domain.TaskPrefix, what, about) }
	done := projections.TaskRow{TaskID: id, Status: domain.StatusCompleted}
	for _, n := range c.ownNamespaces() {
		log := eventstore.LogID(n.Log)
		cfg, _, err := s.config(ctx, log)
		if err != nil {
			return done, err
		}
		for deleted := range cfg.Deleted {
			if is("delete", deleted) {
				done.TaskType, done.BucketID = "api_buckets_delete", deleted
				return done, nil
			}
		}
		for _, k := range cfg.Collections {
			if is("empty", k.CollectionID) {
				done.TaskType, done.Status, done.Error = "api_collections_trigger", domain.StatusFailed, nothingToExtract
				return done, nil
			}
		}
		for q, more := (projections.BatchQuery{Status: domain.StatusCanceled}), true; more; {
			page, err := s.Batches.List(ctx, log, q)
			if err != nil {
				return done, err
			}
			for _, b := range page.Items {
				if b.TaskID == "" && is("cancel", b.BatchID) {
					return canceledDraft(b.BatchID, b.BucketID), nil
				}
			}
			q.After, more = page.Next, page.Next != ""
		}
	}
	if err := c.catchUp(ctx, s.Models, "directory"); err != nil {
		return done, err
	}
	deleted, err := s.Directory.DeletedNamespaces(ctx, c.Log)
	if err != nil {
		return done, err
	}
	for _, n := range deleted {
		if is("delete", string(n.Log)) {
			done.TaskType = "api_namespaces_delete"
			return done, nil
		}
	}
	return done, domain.NotFound("task", id)
}

// nothingToExtract is why a trigger failed.
const nothingToExtract = "the collection's buckets have no objects to extract"

// canceledDraft is the task of a draft that was canceled: it never ran.
func canceledDraft(batchID, bucketID string) projections.TaskRow {
	return projections.TaskRow{TaskID: domain.DeriveID(domain.TaskPrefix, "cancel", batchID), TaskType: projections.TaskTypeBatch, Status: domain.StatusCanceled, BatchID: batchID, BucketID: bucketID}
}
