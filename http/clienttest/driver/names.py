"""Everything by its name instead of its id, and names that need percent-encoding in a path."""

import time

import mixpeek

import corpus
from connection import Typed, Wrapped
from ingest import ended
from recorder import contains, equal, holds

NAMESPACE = "odd/names 100%"
BUCKET = "a/b c?d#e%2Ff+g&ü"
COLLECTION = "k/l m%n"
RETRIEVER = "r/s?t=u&v"


def made(s):
    """Names with slashes, spaces, percent signs and letters beyond ASCII are kept as they are."""
    namespace = s.typed("NamespacesApi.create_namespace", mixpeek.CreateNamespaceRequest(namespace_name=NAMESPACE), gives=mixpeek.NamespaceModel)
    s.odd_namespace = namespace.namespace_id
    s.odd = Typed(s.recorder, s.host, s.key, NAMESPACE)  # the header has the name
    s.odd_wrapped = Wrapped(s.recorder, s.host, s.key, NAMESPACE)
    equal(s.typed("NamespacesApi.get_namespace", NAMESPACE, gives=mixpeek.NamespaceModel).namespace_id, namespace.namespace_id, "the namespace by its name")
    bucket = s.odd(
        "BucketsApi.create_bucket",
        mixpeek.BucketCreateRequest(bucket_name=BUCKET, bucket_schema=mixpeek.BucketSchemaInput.from_dict(corpus.schema())),
        gives=mixpeek.BucketResponse,
    )
    s.odd_bucket = bucket.bucket_id
    collection = s.odd(
        "CollectionsApi.create_collection",
        mixpeek.CreateCollectionRequest.from_dict(
            {
                "collection_name": COLLECTION,
                "source": {"type": "bucket", "bucket_ids": [BUCKET]},
                "feature_extractor": {
                    "feature_extractor_name": "text_extractor",
                    "version": "v1",
                    "input_mappings": {"text": "content"},
                    "parameters": {"extractor_type": "text_extractor"},
                    "field_passthrough": [{"source_path": "topic"}, {"source_path": "year"}],
                },
            }
        ),
        gives=mixpeek.CollectionResponse,
    )
    s.odd_collection = collection.collection_id
    equal(collection.source.bucket_ids, [bucket.bucket_id], "a source named by its name is answered by its id")
    features = s.odd("CollectionsApi.describe_collection_features", COLLECTION, gives=mixpeek.DescribeCollectionFeaturesResponse).features
    equal(features[0].feature_extractor_name, "text_extractor", "features by the collection's name")
    retriever = s.odd(
        "RetrieversApi.create_retriever",
        mixpeek.CreateRetrieverRequest.from_dict(
            {
                "retriever_name": RETRIEVER,
                "stages": [
                    {
                        "stage_name": "search",
                        "config": {
                            "stage_id": "feature_search",
                            "parameters": {"searches": [{"feature_uri": features[0].feature_uri, "query": "{{INPUT.query}}", "top_k": 8}], "final_top_k": 8},
                        },
                    }
                ],
                "collection_identifiers": [COLLECTION],
                "input_schema": {"query": {"type": "string", "required": True}},
            }
        ),
        gives=mixpeek.RetrieverConfig,
    )
    s.odd_retriever = retriever.retriever_id
    equal(retriever.collection_identifiers, [collection.collection_id], "a collection named by its name is answered by its id")


def read_and_changed(s):
    """Buckets, collections and retrievers are read and changed by name."""
    equal(s.odd("BucketsApi.get_bucket", BUCKET, gives=mixpeek.BucketResponse).bucket_id, s.odd_bucket, "bucket")
    equal(s.odd("CollectionsApi.get_collection", COLLECTION, gives=mixpeek.CollectionResponse).collection_id, s.odd_collection, "collection")
    equal(s.odd("RetrieversApi.get_retriever", RETRIEVER, gives=mixpeek.RetrieverModelOutput).retriever_id, s.odd_retriever, "retriever")
    bucket = s.odd("BucketsApi.patch_bucket", BUCKET, mixpeek.BucketPatchRequest(description="odd"), gives=mixpeek.BucketResponse)
    equal((bucket.bucket_name, bucket.description), (BUCKET, "odd"), "a changed bucket")
    put = s.odd("BucketsApi.update_bucket", BUCKET, mixpeek.BucketUpdateRequest(metadata={"n": 1}), gives=mixpeek.BucketResponse)
    equal((put.description, put.metadata), ("odd", {"n": 1}), "PUT keeps what is left out")
    equal(s.odd("CollectionsApi.update_collection", COLLECTION, {"description": "odd"}, gives=mixpeek.CollectionResponse).description, "odd", "collection")
    changed = s.odd("RetrieversApi.patch_retriever", RETRIEVER, mixpeek.PatchRetrieverRequest(tags=["odd"]), gives=mixpeek.PatchRetrieverResponse)
    equal(changed.retriever.tags, ["odd"], "retriever")


def filled(s):
    """Objects and batches under the bucket's name, a trigger under the collection's."""
    s.odd_objects = [
        s.odd("BucketObjectsApi.create_object_buckets", BUCKET, mixpeek.CreateObjectRequest.from_dict(corpus.item(i)), gives=mixpeek.ObjectResponse).object_id
        for i in range(len(corpus.TEXTS))
    ]
    one = s.odd("BucketObjectsApi.get_object_buckets", BUCKET, s.odd_objects[0], include_document_count=False, gives=mixpeek.ObjectResponse)
    equal((one.bucket_id, one.document_count, one.status.value), (s.odd_bucket, None, "PENDING"), "a new object, not counted")
    draft = s.odd(
        "BucketBatchesApi.create_batch_buckets_batches",
        BUCKET,
        mixpeek.CreateBatchRequest(object_ids=s.odd_objects[:4], collection_ids=[COLLECTION]),
        gives=mixpeek.BatchModel,
    )
    s.odd_batch = draft.batch_id
    equal((draft.bucket_id, draft.collection_ids), (s.odd_bucket, [s.odd_collection]), "names become ids")
    patched = s.odd(
        "BucketBatchesApi.patch_batch_buckets_batches", BUCKET, draft.batch_id, mixpeek.PatchBatchRequest(metadata=mixpeek.BatchMetadata(notes="first half")), gives=mixpeek.BatchModel
    )
    equal(patched.metadata.notes, "first half", "metadata of the batch")
    task = s.odd("BucketBatchesApi.submit_batch_buckets_batches", BUCKET, draft.batch_id, gives=mixpeek.TaskResponse)
    equal(ended(s, task.task_id).status.value, "COMPLETED", "the first half")
    started = s.odd("CollectionsApi.trigger_collection", COLLECTION, gives=mixpeek.TriggerCollectionResponse, status=202)
    equal((started.collection_id, started.object_count), (s.odd_collection, 8), "the trigger takes all objects")
    equal(ended(s, started.task_id).status.value, "COMPLETED", "the triggered run")
    again = s.odd(
        "CollectionsApi.trigger_collection",
        COLLECTION,
        mixpeek.TriggerCollectionRequest(dedup_strategy="skip", object_ids=s.odd_objects[:1]),
        gives=mixpeek.TriggerCollectionResponse,
        status=202,
    )
    equal(ended(s, again.task_id).status.value, "COMPLETED", "one object again, asked to be skipped")
    s.odd.refused(
        422, "ValidationError", "CollectionsApi.trigger_collection", COLLECTION, mixpeek.TriggerCollectionRequest(include_collections=["no such source"])
    )
    for narrowed in ({"bucket_id": BUCKET}, {"collection_id": COLLECTION}, {"namespace_id": NAMESPACE}):
        for call in (s.odd, s.typed):
            listed = call("BatchesApi.list_all_batches", list_batches_request=mixpeek.ListBatchesRequest.from_dict(narrowed), gives=mixpeek.ListBatchesResponse)
            equal((listed.total_count, listed.results[-1].batch_id), (3, draft.batch_id), f"batches by {narrowed}, newest first")
    audit = s.odd("BucketBatchesApi.get_batch_audit_buckets_batches", BUCKET, draft.batch_id, gives=object)
    equal((audit["all_balanced"], audit["has_lost_objects"]), (True, False), "audit of the batch")
    counted = s.odd("BucketObjectsApi.get_object_buckets", BUCKET, s.odd_objects[0], gives=mixpeek.ObjectResponse)
    equal((counted.document_count, counted.status.value), (1, "COMPLETED"), "an object that was run")


def documents(s):
    """Documents and their lineage under the collection's name."""
    listed = s.odd("CollectionDocumentsApi.list_documents", COLLECTION, include_total=True, gives=mixpeek.ListDocumentsResponse)
    equal((len(listed.results), listed.pagination.total), (8, 8), "documents")
    equal(s.odd("CollectionDocumentsApi.count_documents", COLLECTION, gives=mixpeek.DocumentCountResponse).count, 8, "count")
    first = s.odd_document = listed.results[0].document_id
    equal(s.odd("CollectionDocumentsApi.get_document", COLLECTION, first, gives=mixpeek.DocumentResponse).document_id, first, "a document")
    came = s.odd("DocumentLineageApi.get_document_lineage", COLLECTION, first, gives=mixpeek.DocumentLineageResponse)
    contains(s.odd_objects, came.lineage.root_object_id, "root object")
    over = s.odd(
        "DocumentsApi.list_documents_ns",
        namespace_list_documents_request=mixpeek.NamespaceListDocumentsRequest(collection_ids=[COLLECTION], limit=50),
        gives=mixpeek.ListDocumentsResponse,
    )
    equal(len(over.results), 8, "documents of the namespace, the collection by its name")


def executed(s):
    """A retriever runs, and its executions are read, under its name."""
    answer = s.odd(
        "RetrieversApi.execute_retriever", RETRIEVER, mixpeek.ExecuteRetrieverRequest(inputs={"query": "roses in spring"}), gives=mixpeek.ExecuteRetrieverResponse
    )
    equal((answer.retriever_id, answer.results), (s.odd_retriever, answer.documents), "the answer")
    contains(str(answer.documents[0]), "roses", "first hit")
    plan = s.odd("RetrieversApi.explain_retriever_execution_id_execute", RETRIEVER, mixpeek.ExplainRetrieverRequest(inputs={"query": "x"}), gives=mixpeek.ExplainRetrieverResponse)
    equal(plan.retriever_name, RETRIEVER, "the plan")
    listed = s.odd("RetrieversApi.list_executions_retrievers", RETRIEVER, gives=mixpeek.ListExecutionsResponse)
    equal([e.execution_id for e in listed.results], [answer.execution_id], "executions")
    one = s.odd("RetrieversApi.get_execution_retrievers", RETRIEVER, answer.execution_id, gives=mixpeek.ExecutionDetail)
    equal((one.documents, one.results), (one.results, one.documents), "results and documents of the record")
    equal([d["document_id"] for d in one.documents], [d["document_id"] for d in answer.documents], "documents of the record")


def lists(s):
    """Both spellings of every list answer the same, page by page."""
    for get, post, arguments, name in (
        ("BucketsApi.list_buckets_get", "BucketsApi.list_buckets", [], "ListBucketsResponse"),
        ("BucketObjectsApi.list_objects_get_buckets", "BucketObjectsApi.list_objects_buckets", [BUCKET], "ListObjectsResponse"),
        ("CollectionsApi.list_collections_get", "CollectionsApi.list_collections", [], "ListCollectionsResponse"),
        ("CollectionDocumentsApi.list_documents_0", "CollectionDocumentsApi.list_documents", [COLLECTION], "ListDocumentsResponse"),
        ("RetrieversApi.list_retrievers_get", "RetrieversApi.list_retrievers", [], "ListRetrieversResponse"),
        ("NamespacesApi.list_namespaces_get", "NamespacesApi.list_namespaces", [], "ListNamespacesResponse"),
    ):
        gives = getattr(mixpeek, name)
        whole = {}
        for operation in (get, post):
            seen, cursor, total = [], None, None
            for _ in range(20):
                page = s.odd(operation, *arguments, page_size=3, cursor=cursor, include_total=True, gives=gives)
                holds(len(page.results) <= 3, f"{operation}: a page holds at most what was asked for")
                total = page.pagination.total
                seen += [r.to_dict() for r in page.results]
                cursor = page.pagination.next_cursor
                if not cursor:
                    break
            equal(total, len(seen), f"{operation}: pagination.total")
            whole[operation] = seen
            aside = s.odd(operation, *arguments, limit=1, offset=1, gives=gives).results
            equal([r.to_dict() for r in aside], seen[1:2], f"{operation}: limit and offset")
        equal(whole[get], whole[post], f"{get} and {post}")


def searched(s):
    """Lists are searched in values, sorted and filtered; a member that is not known is told in a form the client reads."""
    for wanted, text in ((1, "A/B C"), (1, "odd"), (0, "bucket_name"), (0, "no such text")):
        found = s.odd("BucketsApi.list_buckets_get", search=text, gives=mixpeek.ListBucketsResponse)
        equal(len(found.results), wanted, f"buckets that have {text!r}")
    for wanted, text in ((1, "a/b c"), (0, "A/B C")):
        found = s.odd("BucketsApi.list_buckets", list_buckets_request=mixpeek.ListBucketsRequest(search=text, case_sensitive=True), gives=mixpeek.ListBucketsResponse)
        equal(len(found.results), wanted, f"buckets that have exactly {text!r}")
    newest = s.odd(
        "BucketObjectsApi.list_objects_buckets",
        BUCKET,
        list_objects_request=mixpeek.ListObjectsRequest(sort=mixpeek.SortOption(field="year", direction="desc")),
        limit=3,
        gives=mixpeek.ListObjectsResponse,
    )
    equal([o.additional_properties["year"] for o in newest.results], [1964, 1963, 1962], "objects by year, falling")
    heat = s.odd(
        "BucketObjectsApi.list_objects_buckets",
        BUCKET,
        list_objects_request=mixpeek.ListObjectsRequest.from_dict({"filters": {"AND": [{"field": "topic", "operator": "eq", "value": "heat"}]}}),
        gives=mixpeek.ListObjectsResponse,
    )
    equal(sorted(o.additional_properties["year"] for o in heat.results), [1957, 1959, 1962], "objects on heat")
    for path, name in (("/buckets/list", "ListBucketsResponse"), ("/collections/list", "ListCollectionsResponse"), ("/retrievers/list", "ListRetrieversResponse")):
        answer = s.odd_wrapped.client._request("POST", path, body={"no_such_member": 1})
        read = getattr(mixpeek, name).from_dict(answer)
        contains(str([w.to_dict() for w in read.warnings or []]), "no_such_member", f"{path}: warnings")


def removed(s):
    """Everything is deleted by name; deletions are tasks that can be polled, and a killed task need not exist."""
    second = s.odd(
        "BucketBatchesApi.create_batch_buckets_batches", BUCKET, mixpeek.CreateBatchRequest(object_ids=s.odd_objects[:1]), gives=mixpeek.BatchModel
    )
    stopped = s.odd("BatchesApi.cancel_batch_by_id_batches", second.batch_id, gives=mixpeek.TaskResponse)
    task = s.typed("TasksApi.get_task", stopped.task_id, gives=mixpeek.TaskResponse)
    equal(task.status.value, "CANCELED", "the task of a draft that was canceled")
    s.odd("BucketBatchesApi.delete_batch_buckets_batches", BUCKET, second.batch_id, gives=mixpeek.GenericDeleteResponse)
    s.odd.refused(404, "NotFoundError", "BatchesApi.get_batch_by_id_batches", second.batch_id)
    equal(s.typed("TasksApi.kill_task", "task_none", gives=mixpeek.GenericDeleteResponse).success, True, "killing what does not run")
    gone = s.odd(
        "BucketObjectsApi.bulk_soft_delete_objects_buckets",
        BUCKET,
        mixpeek.BulkSoftDeleteRequest(object_ids=s.odd_objects[:2] + ["obj_none"], reason="over"),
        gives=mixpeek.BulkSoftDeleteResponse,
    )
    equal((gone.soft_deleted, gone.requested, gone.collections), (2, 3, 1), "objects deleted at once")
    equal(s.odd("CollectionDocumentsApi.count_documents", COLLECTION, gives=mixpeek.DocumentCountResponse).count, 6, "documents left")
    s.odd("BucketObjectsApi.delete_object_buckets", BUCKET, s.odd_objects[2], gives=None, status=204)
    s.odd("RetrieversApi.delete_retriever", RETRIEVER, gives=object)
    s.odd.refused(404, "NotFoundError", "RetrieversApi.get_retriever", RETRIEVER)
    s.odd("CollectionsApi.delete_collection", COLLECTION, gives=object)
    s.odd.refused(404, "NotFoundError", "CollectionDocumentsApi.list_documents", COLLECTION)
    answer = s.odd("BucketsApi.delete_bucket", BUCKET, gives=dict)
    equal((answer["bucket_name"], answer["object_count"]), (BUCKET, 5), "what the deletion of a bucket tells")
    polled(s, answer["task_id"], "api_buckets_delete")
    polled(s, s.typed("NamespacesApi.delete_namespace", NAMESPACE, gives=dict)["task_id"], "api_namespaces_delete")
    s.odd.refused(404, "NotFoundError", "BucketsApi.get_bucket", BUCKET)


def polled(s, task_id, kind, seconds=30):
    """Follows a deletion's task to its end."""
    until = time.monotonic() + seconds
    while True:
        task = s.typed("TasksApi.get_task", task_id, gives=mixpeek.TaskResponse)
        if task.status.value == "COMPLETED" or time.monotonic() > until:
            break
        time.sleep(0.1)
    equal((task.status.value, task.task_type.value), ("COMPLETED", kind), "the task of the deletion")


STEPS = [made, read_and_changed, filled, documents, executed, lists, searched, removed]
