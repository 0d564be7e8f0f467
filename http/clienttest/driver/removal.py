"""Everything that was made is deleted again, from the leaves to the namespace."""

import time

import mixpeek
from mixpeek.exceptions import NotFoundException

from recorder import Mismatch, equal, holds


def document(s):
    """A deleted document is gone from reads, counts and searches."""
    victim = s.documents[1964].document_id
    answer = s.typed("CollectionDocumentsApi.delete_document", s.collection_id, victim, gives=mixpeek.GenericDeleteResponse)
    equal(answer.success, True, "success")
    s.typed.refused(404, "NotFoundError", "CollectionDocumentsApi.get_document", s.collection_id, victim)
    count = s.typed("CollectionDocumentsApi.count_documents", s.collection_id, gives=mixpeek.DocumentCountResponse)
    equal(count.count, 7, "count")
    found = s.typed(
        "RetrieversApi.execute_retriever",
        s.retriever_id,
        mixpeek.ExecuteRetrieverRequest(inputs={"query": "when should roses be pruned"}),
        gives=mixpeek.ExecuteRetrieverResponse,
    )
    holds(victim not in [d["document_id"] for d in found.documents], "a deleted document is found no more")
    kept = s.typed("RetrieversApi.get_execution_retrievers", s.retriever_id, s.execution.execution_id, gives=mixpeek.ExecutionDetail)
    equal(len(kept.documents), len(s.execution.documents), "an execution's record outlives the document")
    batch = s.typed(
        "CollectionDocumentsApi.batch_delete",
        s.collection_id,
        mixpeek.BatchDeleteDocumentsRequest(document_ids=[s.documents[1960].document_id]),
        gives=mixpeek.BatchDeleteDocumentsResponse,
        optional=True,
    )
    if batch is not None:
        equal(batch.deleted_count, 1, "deleted_count")


def retriever(s):
    """A deleted retriever is gone; so are its name and its list entry."""
    s.typed("RetrieversApi.delete_retriever", s.retriever_id, gives=object)
    s.typed.refused(404, "NotFoundError", "RetrieversApi.get_retriever", s.retriever_id)
    listed = s.typed("RetrieversApi.list_retrievers", gives=mixpeek.ListRetrieversResponse)
    holds(s.retriever_id not in [r.retriever_id for r in listed.results], "it is in no list")


def collections(s):
    """The copies first, then their source, with all documents."""
    for collection in (s.copies_id, s.collection_id):
        s.typed("CollectionsApi.delete_collection", collection, gives=object)
        s.typed.refused(404, "NotFoundError", "CollectionsApi.get_collection", collection)
        s.typed.refused(404, "NotFoundError", "CollectionDocumentsApi.count_documents", collection)


def bucket(s):
    """A bucket with its objects."""
    answer = s.typed("BucketsApi.delete_bucket", s.bucket_id, gives=dict)
    equal(answer["bucket_id"], s.bucket_id, "bucket_id")
    holds(answer["task_id"], "deletion is a task")
    gone(lambda: s.typed("BucketsApi.get_bucket", s.bucket_id, gives=mixpeek.BucketResponse), "the bucket")


def namespace(s):
    """The namespace; its name is free again."""
    answer = s.typed("NamespacesApi.delete_namespace", s.namespace_id, gives=dict)
    holds(answer["task_id"], "deletion is a task")
    gone(lambda: s.typed("NamespacesApi.get_namespace", s.namespace_id, gives=mixpeek.NamespaceModel), "the namespace")
    again = s.typed(
        "NamespacesApi.create_namespace", mixpeek.CreateNamespaceRequest(namespace_name="client-suite"), gives=mixpeek.NamespaceModel
    )
    holds(again.namespace_id != s.namespace_id, "a new namespace under the old name has a new id")


def user(s):
    """A user with all keys."""
    answer = s.typed("OrganizationUsersApi.delete_user_organizations_email", s.member, gives=mixpeek.GenericSuccessResponse)
    equal(answer.success, True, "success")
    s.typed.refused(404, "NotFoundError", "OrganizationUsersApi.get_user_organizations_email", s.member)


def gone(read, what, seconds=30):
    """Waits until a read answers 404."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            read()
        except NotFoundException:
            return
        time.sleep(0.1)
    raise Mismatch(f"{what} is still there after {seconds} s")


STEPS = [document, retriever, collections, bucket, namespace, user]
