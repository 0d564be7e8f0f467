"""From a namespace to documents: bucket, objects, collections, batch, task."""

import base64
import time

import mixpeek

import corpus
from recorder import Mismatch, contains, equal, holds

ENDED = {"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELED"}


def namespace(s):
    """A namespace is created, listed, and read by id and by name."""
    made = s.typed(
        "NamespacesApi.create_namespace",
        mixpeek.CreateNamespaceRequest(
            namespace_name="client-suite",
            description="driven by the official client",
            payload_indexes=[mixpeek.PayloadIndexConfigInput(field_name="year", type="integer")],
        ),
        gives=mixpeek.NamespaceModel,
    )
    s.namespace_id = made.namespace_id
    s.enter(made.namespace_id)
    equal(made.namespace_name, "client-suite", "namespace_name")
    holds(made.namespace_id.startswith("ns_"), f"namespace_id starts with ns_, got {made.namespace_id}")
    contains([i.field_name for i in made.payload_indexes], "year", "payload_indexes")
    by_name = s.typed("NamespacesApi.get_namespace", "client-suite", gives=mixpeek.NamespaceModel)
    equal(by_name.namespace_id, made.namespace_id, "the id, read by name")
    for listed in (
        s.typed("NamespacesApi.list_namespaces_get", include_total=True, gives=mixpeek.ListNamespacesResponse),
        s.typed("NamespacesApi.list_namespaces", include_total=True, gives=mixpeek.ListNamespacesResponse),
    ):
        contains([n.namespace_id for n in listed.results], made.namespace_id, "listed namespaces")
        equal(listed.total_count, len(listed.results), "total_count")
    changed = s.typed(
        "NamespacesApi.patch_namespace",
        made.namespace_id,
        mixpeek.PatchNamespaceRequest(description="changed"),
        gives=mixpeek.NamespaceModel,
    )
    equal(changed.description, "changed", "description")


def bucket(s):
    """A bucket is created, listed, read by name and changed."""
    made = s.typed(
        "BucketsApi.create_bucket",
        mixpeek.BucketCreateRequest(
            bucket_name="texts", bucket_schema=mixpeek.BucketSchemaInput.from_dict(corpus.schema()), metadata={"from": "suite"}
        ),
        gives=mixpeek.BucketResponse,
    )
    s.bucket_id = made.bucket_id
    equal((made.bucket_name, made.object_count, made.total_size_bytes), ("texts", 0, 0), "the new bucket")
    equal(made.bucket_schema.properties["year"].type.value, "integer", "type of year")
    by_name = s.typed("BucketsApi.get_bucket", "texts", gives=mixpeek.BucketResponse)
    equal(by_name.bucket_id, made.bucket_id, "the id, read by name")
    for listed in (
        s.typed("BucketsApi.list_buckets", gives=mixpeek.ListBucketsResponse),
        s.typed("BucketsApi.list_buckets_get", search="texts", gives=mixpeek.ListBucketsResponse),
    ):
        equal([b.bucket_id for b in listed.results], [made.bucket_id], "listed buckets")
    patched = s.typed(
        "BucketsApi.patch_bucket",
        made.bucket_id,
        mixpeek.BucketPatchRequest(description="eight texts"),
        gives=mixpeek.BucketResponse,
    )
    equal(patched.description, "eight texts", "description")
    put = s.typed(
        "BucketsApi.update_bucket", made.bucket_id, mixpeek.BucketUpdateRequest(metadata={"n": 8}), gives=mixpeek.BucketResponse
    )
    equal((put.metadata, put.description), ({"n": 8}, "eight texts"), "metadata changed, description kept")


def objects(s):
    """Objects are created one by one: as text, as base64, as a data URI, and once under a key."""
    first = mixpeek.CreateObjectRequest.from_dict(corpus.item(0))
    first.idempotency_key = "text-0"
    made = s.typed("BucketObjectsApi.create_object_buckets", s.bucket_id, first, gives=mixpeek.ObjectResponse)
    equal((made.bucket_id, made.status.value), (s.bucket_id, "PENDING"), "bucket and status")
    equal(made.additional_properties.get("topic"), "wings", "a field of the user")
    equal([(b.var_property, b.type.value) for b in made.blobs], [("content", "text")], "blobs")
    again = s.typed("BucketObjectsApi.create_object_buckets", s.bucket_id, first, gives=mixpeek.ObjectResponse)
    equal(again.object_id, made.object_id, "the same idempotency_key gives the same object")
    text = corpus.TEXTS[1][2].encode()
    encoded = {"base64": base64.b64encode(text).decode(), "mime_type": "text/plain"}
    uri = "data:text/plain;base64," + base64.b64encode(corpus.TEXTS[2][2].encode()).decode()
    s.first_objects = ids = [made.object_id]
    for index, data in ((1, encoded), (2, uri)):
        body = corpus.item(index)
        body["blobs"][0]["data"] = data
        one = s.typed(
            "BucketObjectsApi.create_object_buckets",
            s.bucket_id,
            mixpeek.CreateObjectRequest.from_dict(body),
            gives=mixpeek.ObjectResponse,
        )
        ids.append(one.object_id)


def bulk(s):
    """Objects in bulk: the good ones are kept, the bad one fails alone."""
    bad = {"topic": "wings", "year": "not a number", "blobs": [{"property": "content", "type": "text", "data": "x"}]}
    body = [corpus.item(i) for i in range(3, len(corpus.TEXTS))] + [bad]
    answer = s.typed(
        "BucketObjectsApi.create_objects_batch_buckets",
        s.bucket_id,
        mixpeek.CreateObjectsBatchRequest(objects=[mixpeek.CreateObjectRequest.from_dict(o) for o in body]),
        gives=mixpeek.CreateObjectsBatchResponse,
    )
    s.objects = s.first_objects + [o.object_id for o in sorted(answer.succeeded, key=lambda o: o.object_index or 0)]
    equal((answer.total_requested, answer.succeeded_count, answer.failed_count), (6, 5, 1), "counts")
    equal([f.object_index for f in answer.failed], [5], "index of the one that failed")
    contains(answer.failed[0].error, "year", "its reason names the field")
    equal(len(set(s.objects)), 8, "eight objects, each with its id")


def object_reads(s):
    """Objects are listed in pages, read, changed and deleted."""
    seen, cursor = [], None
    for _ in range(10):
        page = s.typed(
            "BucketObjectsApi.list_objects_buckets", s.bucket_id, page_size=3, cursor=cursor, gives=mixpeek.ListObjectsResponse
        )
        seen += [o.object_id for o in page.results]
        cursor = page.pagination.next_cursor
        if not cursor:
            break
    equal(sorted(seen), sorted(s.objects), "all pages together hold each object once")
    listed = s.typed("BucketObjectsApi.list_objects_get_buckets", s.bucket_id, include_total=True, gives=mixpeek.ListObjectsResponse)
    equal(listed.pagination.total, 8, "pagination.total")
    one = s.typed("BucketObjectsApi.get_object_buckets", s.bucket_id, s.objects[3], gives=mixpeek.ObjectResponse)
    equal(one.additional_properties.get("year"), 1957, "year of the fourth")
    patched = s.typed(
        "BucketObjectsApi.patch_object_buckets",
        s.bucket_id,
        s.objects[3],
        mixpeek.PatchObjectRequest.from_dict({"year": 1956}),
        gives=mixpeek.ObjectResponse,
    )
    equal(patched.additional_properties.get("year"), 1956, "year after the change")
    equal(patched.additional_properties.get("topic"), "heat", "a field that was not in the change")
    put = s.typed(
        "BucketObjectsApi.update_object_buckets",
        s.bucket_id,
        s.objects[3],
        mixpeek.UpdateObjectRequest.from_dict({"year": 1957, "topic": "heat"}),
        gives=mixpeek.ObjectResponse,
    )
    equal(put.additional_properties.get("year"), 1957, "year after the second change")
    extra = s.typed(
        "BucketObjectsApi.create_object_buckets",
        s.bucket_id,
        mixpeek.CreateObjectRequest.from_dict(corpus.item(0)),
        gives=mixpeek.ObjectResponse,
    )
    s.typed("BucketObjectsApi.delete_object_buckets", s.bucket_id, extra.object_id, gives=None, status=204)
    s.typed.refused(404, "NotFoundError", "BucketObjectsApi.get_object_buckets", s.bucket_id, extra.object_id)


def collections(s):
    """A collection over the bucket, and one over that collection."""
    made = s.typed(
        "CollectionsApi.create_collection",
        mixpeek.CreateCollectionRequest.from_dict(
            {
                "collection_name": "sentences",
                "source": {"type": "bucket", "bucket_ids": [s.bucket_id]},
                "feature_extractor": {
                    "feature_extractor_name": "text_extractor",
                    "version": "v1",
                    "input_mappings": {"text": "content"},
                    "parameters": {"extractor_type": "text_extractor", "split_by": "none"},
                    "field_passthrough": [{"source_path": "topic"}, {"source_path": "year"}],
                },
            }
        ),
        gives=mixpeek.CollectionResponse,
    )
    s.collection_id = made.collection_id
    equal(made.collection_name, "sentences", "collection_name")
    equal(made.feature_extractor.feature_extractor_id, "text_extractor_v1", "feature_extractor_id")
    equal((made.source.type.value, made.source.bucket_ids), ("bucket", [s.bucket_id]), "source")
    copy = s.typed(
        "CollectionsApi.create_collection",
        mixpeek.CreateCollectionRequest.from_dict(
            {
                "collection_name": "copies",
                "source": {"type": "collection", "collection_ids": [s.collection_id]},
                "feature_extractor": {
                    "feature_extractor_name": "passthrough_extractor",
                    "version": "v1",
                    "parameters": {"extractor_type": "passthrough_extractor"},
                    "field_passthrough": [{"source_path": "topic", "target_path": "subject"}],
                },
            }
        ),
        gives=mixpeek.CollectionResponse,
    )
    s.copies_id = copy.collection_id
    equal(copy.source.collection_ids, [s.collection_id], "source of the second")
    for listed in (
        s.typed("CollectionsApi.list_collections", gives=mixpeek.ListCollectionsResponse),
        s.typed("CollectionsApi.list_collections_get", gives=mixpeek.ListCollectionsResponse),
    ):
        equal(sorted(c.collection_name for c in listed.results), ["copies", "sentences"], "listed collections")
    by_name = s.typed("CollectionsApi.get_collection", "sentences", gives=mixpeek.CollectionResponse)
    equal(by_name.collection_id, s.collection_id, "the id, read by name")
    features = s.typed(
        "CollectionsApi.describe_collection_features", s.collection_id, gives=mixpeek.DescribeCollectionFeaturesResponse
    ).features
    holds(features, "the text extractor gives at least one feature")
    primary = next((f for f in features if f.primary), features[0])
    s.feature_uri = primary.feature_uri
    holds(primary.feature_uri.startswith("mixpeek://text_extractor@v1"), f"feature_uri, got {primary.feature_uri}")
    changed = s.typed("CollectionsApi.update_collection", s.collection_id, {"description": "one text each"}, gives=mixpeek.CollectionResponse)
    equal(changed.description, "one text each", "description")


def ended(s, task_id, seconds=60):
    """Polls a task until it has ended."""
    until = time.monotonic() + seconds
    while True:
        task = s.typed("TasksApi.get_task", task_id, gives=mixpeek.TaskResponse)
        if task.status.value in ENDED:
            return task
        if time.monotonic() > until:
            raise Mismatch(f"task {task_id} is {task.status.value} after {seconds} s")
        time.sleep(0.1)


STEPS = [namespace, bucket, objects, bulk, object_reads, collections]
