"""What must be refused: by its status, as the client's exception, with an error that it can read."""

import time

import mixpeek
from mixpeek._client.client import MixpeekAPIError

import corpus
from connection import Typed
from recorder import Mismatch, contains, equal, holds


def without_a_key(s):
    """No key, a wrong key, an expired key, a revoked key: 401."""
    Typed(s.recorder, s.host).refused(401, "UnauthorizedError", "AccountApi.whoami_me")
    Typed(s.recorder, s.host, "sk_live_not_a_key").refused(401, "UnauthorizedError", "AccountApi.whoami_me")
    wait = (s.expires_at.timestamp() - time.time()) + 0.1
    if wait > 0:
        time.sleep(wait)
    Typed(s.recorder, s.host, s.expiring_key).refused(401, "UnauthorizedError", "AccountApi.whoami_me")
    s.typed(
        "OrganizationAPIKeysApi.delete_key_organizations_users_email_name",
        s.member,
        "reader",
        gives=mixpeek.GenericSuccessResponse,
    )
    Typed(s.recorder, s.host, s.reader_key).refused(401, "UnauthorizedError", "AccountApi.whoami_me")


def unknown(s):
    """What does not exist is 404, whatever it is."""
    for operation, arguments in {
        "NamespacesApi.get_namespace": ["ns_0000000000"],
        "BucketsApi.get_bucket": ["bkt_00000000"],
        "CollectionsApi.get_collection": ["col_0000000000"],
        "RetrieversApi.get_retriever": ["ret_0000000000"],
        "TasksApi.get_task": ["task_0000000000"],
        "BatchesApi.get_batch_by_id_batches": ["btch_000000000000"],
        "OrganizationUsersApi.get_user_organizations_email": ["nobody@example.org"],
        "CollectionDocumentsApi.get_document": [s.collection_id, "doc_000000"],
        "BucketObjectsApi.get_object_buckets": [s.bucket_id, "obj_000000"],
        "RetrieversApi.get_execution_retrievers": [s.retriever_id, "exec_000000"],
        "DocumentLineageApi.get_document_lineage": [s.collection_id, "doc_000000"],
        "FeatureExtractorsApi.get_feature_extractor_by": ["no_extractor_v1"],
    }.items():
        body = s.typed.refused(404, "NotFoundError", operation, *arguments)
        contains(body["error"]["message"], arguments[-1], f"{operation}: the message names what was asked for")


def taken(s):
    """A name in use is 409."""
    s.typed.refused(
        409, "AlreadyExistsError", "NamespacesApi.create_namespace", mixpeek.CreateNamespaceRequest(namespace_name="client-suite"), declared=False
    )
    s.typed.refused(
        409,
        "AlreadyExistsError",
        "BucketsApi.create_bucket",
        mixpeek.BucketCreateRequest(bucket_name="texts", bucket_schema=mixpeek.BucketSchemaInput.from_dict(corpus.schema())),
        declared=False,
    )


def invalid(s):
    """Wrong values are 422, and the error says where and what is allowed."""
    body = s.typed.refused(
        422,
        "ValidationError",
        "BucketObjectsApi.create_object_buckets",
        s.bucket_id,
        mixpeek.CreateObjectRequest.from_dict({"year": "late", "blobs": corpus.item(0)["blobs"]}),
    )
    contains(str(body["error"]), "year", "the error names the field")
    # A plain dict as a filter loses its condition inside the client, which then sends {"AND": [null]}.
    s.typed.refused(
        422,
        "ValidationError",
        "CollectionDocumentsApi.list_documents",
        s.collection_id,
        list_documents_request={"filters": {"AND": [{"field": "topic", "operator": "eq", "value": "heat"}]}},
    )
    s.typed.refused(
        422,
        "ValidationError",
        "CollectionsApi.create_collection",
        mixpeek.CreateCollectionRequest.from_dict(
            {
                "collection_name": "from-nothing",
                "source": {"type": "bucket", "bucket_ids": [s.bucket_id]},
                "feature_extractor": {"feature_extractor_name": "no_such_extractor", "version": "v1"},
            }
        ),
    )
    s.typed.refused(
        422,
        "ValidationError",
        "RetrieversApi.create_retriever",
        mixpeek.CreateRetrieverRequest.from_dict(
            {
                "retriever_name": "broken",
                "stages": [{"stage_name": "x", "config": {"stage_id": "no_such_stage", "parameters": {}}}],
                "collection_identifiers": [s.collection_id],
            }
        ),
    )


def wrapped(s):
    """The wrapper raises its own error, once, without retrying."""
    for call, status in (
        (lambda: s.wrapped.client.buckets.get("bkt_00000000"), 404),
        (lambda: s.wrapped.client.buckets.create(bucket_name="odd", bucket_schema={"properties": {"a": {"type": "nonsense"}}}), 422),
    ):
        started = time.monotonic()
        try:
            answer = call()
        except MixpeekAPIError as e:
            equal((e.status, e.retryable), (status, False), "status and retryable")
            contains(e.detail["error"], "message", "the error's detail")
            holds(time.monotonic() - started < 2, "the refusal comes at once")
            continue
        raise Mismatch(f"expected {status}, got {str(answer)[:300]}")


def unserved(s):
    """What is not built yet says so with 501 and its own name."""
    body = s.typed.refused(501, None, "ClustersApi.list_clusters", declared=False)
    contains(body["error"]["message"], "/v1/clusters", "the message names the operation")


STEPS = [without_a_key, unknown, taken, invalid, wrapped, unserved]
