"""Batches: create, submit, follow the task, cancel, retry; and the trigger of a collection."""

import time

import mixpeek
from mixpeek.exceptions import UnprocessableEntityException

from ingest import ended
from recorder import contains, equal, holds


def create_and_submit(s):
    """A batch of all objects runs to its end, and its task says so."""
    draft = s.typed(
        "BucketBatchesApi.create_batch_buckets_batches",
        s.bucket_id,
        mixpeek.CreateBatchRequest(object_ids=s.objects[:7], batch_name="all"),
        gives=mixpeek.BatchModel,
    )
    s.batch_id = draft.batch_id
    equal((draft.bucket_id, draft.status.value), (s.bucket_id, "DRAFT"), "bucket and status")
    equal(sorted(draft.object_ids), sorted(s.objects[:7]), "object_ids")
    grown = s.typed(
        "BucketBatchesApi.add_objects_to_batch_buckets_batches",
        s.bucket_id,
        s.batch_id,
        mixpeek.AddObjectsToBatchRequest(object_ids=s.objects[7:]),
        gives=mixpeek.BatchModel,
        optional=True,
    )
    if grown is None:  # not served: begin again with all eight
        whole = s.typed(
            "BucketBatchesApi.create_batch_buckets_batches",
            s.bucket_id,
            mixpeek.CreateBatchRequest(object_ids=s.objects),
            gives=mixpeek.BatchModel,
        )
        s.batch_id = whole.batch_id
    task = s.typed("BucketBatchesApi.submit_batch_buckets_batches", s.bucket_id, s.batch_id, gives=mixpeek.TaskResponse)
    s.task_id = task.task_id
    task = ended(s, task.task_id)
    equal((task.status.value, task.error), ("COMPLETED", None), "the task")


def after_the_run(s):
    """The batch, its objects and the bucket show what happened."""
    until = time.monotonic() + 10
    while True:
        batch = s.typed("BucketBatchesApi.get_batch_buckets_batches", s.bucket_id, s.batch_id, gives=mixpeek.BatchModel)
        if batch.documents_resolvable or time.monotonic() > until:
            break
        time.sleep(0.1)
    equal(batch.status.value, "COMPLETED", "status")
    equal(batch.documents_resolvable, True, "documents_resolvable")
    equal(batch.failed_object_count, 0, "failed_object_count")
    equal(batch.documents_written, 16, "documents_written: eight in each of two collections")
    by_id = s.typed("BatchesApi.get_batch_by_id_batches", s.batch_id, gives=mixpeek.BatchModel)
    equal((by_id.batch_id, by_id.status), (batch.batch_id, batch.status), "the batch by its id alone")
    one = s.typed(
        "BucketObjectsApi.get_object_buckets",
        s.bucket_id,
        s.objects[0],
        include_document_count=True,
        gives=mixpeek.ObjectResponse,
    )
    equal(one.status.value, "COMPLETED", "status of an object")
    bucket = s.typed("BucketsApi.get_bucket", s.bucket_id, gives=mixpeek.BucketResponse)
    equal(bucket.object_count, 8, "object_count")
    holds(bucket.total_size_bytes > 0, "total_size_bytes counts the texts")
    failed = s.typed(
        "BucketBatchesApi.get_failed_documents_buckets_batches_batch", s.bucket_id, s.batch_id, gives=dict
    )
    holds(isinstance(failed, dict), "failed documents are an object")


def lists(s):
    """Batches and tasks are listed."""
    for listed in (
        s.typed("BucketBatchesApi.list_batches_buckets", s.bucket_id, gives=mixpeek.ListBatchesResponse),
        s.typed("BatchesApi.list_all_batches", gives=mixpeek.ListBatchesResponse),
    ):
        contains([b.batch_id for b in listed.results], s.batch_id, "listed batches")
    done = s.typed(
        "BatchesApi.list_all_batches",
        list_batches_request=mixpeek.ListBatchesRequest(status="COMPLETED", bucket_id=s.bucket_id),
        gives=mixpeek.ListBatchesResponse,
    )
    equal({b.status.value for b in done.results}, {"COMPLETED"}, "status of those that were asked for")
    tasks = s.typed("TasksApi.list_tasks", gives=mixpeek.ListTasksResponse)
    contains([t.task_id for t in tasks.results], s.task_id, "listed tasks")


def cancel(s):
    """A draft is cancelled, and cannot be submitted any more."""
    draft = s.typed(
        "BucketBatchesApi.create_batch_buckets_batches",
        s.bucket_id,
        mixpeek.CreateBatchRequest(object_ids=s.objects[:1]),
        gives=mixpeek.BatchModel,
    )
    s.typed(
        "BucketBatchesApi.cancel_batch_buckets_batches",
        s.bucket_id,
        draft.batch_id,
        reason="not needed",
        gives=mixpeek.TaskResponse,
    )
    after = s.typed("BatchesApi.get_batch_by_id_batches", draft.batch_id, gives=mixpeek.BatchModel)
    equal(after.status.value, "CANCELED", "status")


def fail_and_retry(s):
    """An object that cannot be fetched is refused, or fails alone with its reason and is retried."""
    unreachable = mixpeek.CreateObjectRequest.from_dict(
        {"topic": "none", "blobs": [{"property": "content", "type": "text", "data": "http://127.0.0.1:1/none.txt"}]}
    )
    try:
        made = s.typed("BucketObjectsApi.create_object_buckets", s.bucket_id, unreachable, gives=mixpeek.ObjectResponse)
    except UnprocessableEntityException as e:
        contains(e.data.error.message, "127.0.0.1", "the refusal names the address")
        s.typed.refused(
            404,
            "NotFoundError",
            "BucketBatchesApi.retry_batch_buckets_batches",
            s.bucket_id,
            "btch_000000000000",
            mixpeek.RetryBatchRequest(),
        )
        return
    draft = s.typed(
        "BucketBatchesApi.create_batch_buckets_batches",
        s.bucket_id,
        mixpeek.CreateBatchRequest(object_ids=[made.object_id, s.objects[0]]),
        gives=mixpeek.BatchModel,
    )
    task = s.typed("BucketBatchesApi.submit_batch_buckets_batches", s.bucket_id, draft.batch_id, gives=mixpeek.TaskResponse)
    equal(ended(s, task.task_id).status.value, "COMPLETED_WITH_ERRORS", "a batch with one bad object")
    batch = s.typed("BatchesApi.get_batch_by_id_batches", draft.batch_id, gives=mixpeek.BatchModel)
    equal([f.object_id for f in batch.failed_objects], [made.object_id], "failed_objects")
    holds(batch.failed_objects[0].error, "the failure has a reason")
    failed = s.typed("BucketBatchesApi.get_failed_documents_buckets_batches_batch", s.bucket_id, draft.batch_id, gives=dict)
    contains(str(failed), made.object_id, "failed documents")
    again = s.typed(
        "BucketBatchesApi.retry_batch_buckets_batches",
        s.bucket_id,
        draft.batch_id,
        mixpeek.RetryBatchRequest(retry_mode="all"),
        gives=dict,
    )
    if again.get("task_id"):
        equal(ended(s, again["task_id"]).status.value, "COMPLETED_WITH_ERRORS", "the retry fails the same way")
    s.typed("BucketObjectsApi.delete_object_buckets", s.bucket_id, made.object_id, gives=None, status=204)


def trigger(s):
    """A triggered collection runs again (202) and writes nothing twice."""
    before = s.typed("CollectionDocumentsApi.count_documents", s.collection_id, gives=mixpeek.DocumentCountResponse).count
    equal(before, 8, "documents before")
    answer = s.typed("CollectionsApi.trigger_collection", s.collection_id, gives=mixpeek.TriggerCollectionResponse, status=202)
    equal(answer.collection_id, s.collection_id, "collection_id")
    holds(ended(s, answer.task_id).status.value.startswith("COMPLETED"), "the triggered run ends")
    after = s.typed("CollectionDocumentsApi.count_documents", s.collection_id, gives=mixpeek.DocumentCountResponse).count
    equal(after, before, "documents after")


STEPS = [create_and_submit, after_the_run, lists, cancel, fail_and_retry, trigger]
