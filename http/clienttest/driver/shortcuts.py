"""The hand-written layer: the same platform through mixpeek.Mixpeek, in a namespace of its own."""

import time

from mixpeek._client.client import MixpeekAPIError

import corpus
from connection import Wrapped
from recorder import Mismatch, contains, equal, holds, rows


def namespace(s):
    """A namespace, made and found."""
    made = s.wrapped("namespaces.create", name="wrapped")
    equal(made.namespace_name, "wrapped", "namespace_name")
    contains([n["namespace_id"] for n in rows(s.wrapped("namespaces.list"))], made.namespace_id, "listed namespaces")
    equal(s.wrapped("namespaces.get", made.namespace_id).namespace_name, "wrapped", "read again")
    s.mine = Wrapped(s.recorder, s.host, s.key, made.namespace_id)
    s.mine_id = made.namespace_id


def bucket(s):
    """A bucket, uploads whose property comes from its schema, and their list."""
    made = s.mine("buckets.create", bucket_name="notes", bucket_schema=corpus.schema())
    s.mine_bucket = made.bucket_id
    equal(s.mine("buckets.get", s.mine_bucket).bucket_schema.properties.content.type, "text", "type of content")
    equal([b["bucket_id"] for b in rows(s.mine("buckets.list"))], [s.mine_bucket], "listed buckets")
    for topic, year, text in corpus.TEXTS:
        one = s.mine("buckets.upload", s.mine_bucket, data=text, metadata={"topic": topic, "year": year})
        equal(one.bucket_id, s.mine_bucket, "bucket_id of the upload")
    equal(len(rows(s.mine("buckets.list_objects", s.mine_bucket))), 8, "objects")


def collection(s):
    """A collection, filled by its trigger; the task is followed."""
    made = s.mine(
        "collections.create",
        collection_name="notes",
        source={"type": "bucket", "bucket_ids": [s.mine_bucket]},
        feature_extractor={
            "feature_extractor_name": "text_extractor",
            "version": "v1",
            "input_mappings": {"text": "content"},
            "parameters": {"extractor_type": "text_extractor", "split_by": "none"},
            "field_passthrough": ["metadata"],  # a plain string, as older scripts send it
        },
    )
    s.mine_collection = made.collection_id
    passed = made.feature_extractor.field_passthrough
    equal([p["source_path"] for p in passed], ["metadata"], "a plain string is answered as an object")
    equal(s.mine("collections.get", "notes").collection_id, s.mine_collection, "read by name")
    equal(s.mine("collections.update", s.mine_collection, description="notes").description, "notes", "description")
    equal([c["collection_id"] for c in rows(s.mine("collections.list"))], [s.mine_collection], "listed collections")
    started = s.mine("collections.trigger", s.mine_collection)
    until = time.monotonic() + 60
    while True:
        task = s.mine("tasks.get", started.task_id)
        if task.status not in ("PENDING", "QUEUED", "IN_PROGRESS", "PROCESSING"):
            break
        if time.monotonic() > until:
            raise Mismatch(f"the task is {task.status} after 60 s")
        time.sleep(0.1)
    equal(task.status, "COMPLETED", "the triggered run")
    contains([t["task_id"] for t in rows(s.mine("tasks.list"))], started.task_id, "listed tasks")
    if started.get("batch_id"):
        equal(s.mine("batches.get", s.mine_bucket, started.batch_id).status, "COMPLETED", "the batch")
        s.mine("batches.failed_documents", s.mine_bucket, started.batch_id)
        s.mine("batches.audit", s.mine_bucket, started.batch_id, optional=True)


def documents(s):
    """Documents are listed, read, changed and deleted."""
    listed = rows(s.mine("documents.list", s.mine_collection))
    equal(len(listed), 8, "documents")
    # Any but the one that later steps search for: objects are extracted side by side, in no order.
    first = next(d["document_id"] for d in listed if "roses" not in str(d))
    equal(s.mine("documents.get", s.mine_collection, first).document_id, first, "read again")
    equal(s.mine("documents.update", s.mine_collection, first, update_data={"mark": "x"}).mark, "x", "a field added")
    s.mine("documents.delete", s.mine_collection, first)
    equal(len(rows(s.mine("documents.list", s.mine_collection))), 7, "documents after one was deleted")


def retriever(s):
    """A retriever, run by both names of the call."""
    made = s.mine(
        "retrievers.create",
        retriever_name="notes",
        collection_identifiers=[s.mine_collection],
        stages=[
            {
                "stage_name": "search",
                "config": {
                    "stage_id": "feature_search",
                    "parameters": {
                        "searches": [{"feature_uri": s.feature_uri, "query": "{{INPUT.query}}", "top_k": 5}],
                        "final_top_k": 5,
                    },
                },
            }
        ],
        input_schema={"query": {"type": "string", "required": True}},
    )
    equal(made.retriever.retriever_id, made.retriever_id, "the answer is flat, and holds itself as retriever")
    equal(s.mine("retrievers.get", made.retriever_id).retriever_name, "notes", "read again")
    equal([r["retriever_id"] for r in rows(s.mine("retrievers.list"))], [made.retriever_id], "listed retrievers")
    for call in ("retrievers.execute", "retrievers.run"):
        answer = s.mine(call, made.retriever_id, inputs={"query": "roses in spring"}, settings={"limit": 3})
        equal(answer.results, answer.documents, "results and documents are the same")
        contains(str(answer.results[0]), "roses", "first hit")
    s.mine("retrievers.delete", made.retriever_id)


def search(s):
    """The one-line search, whose stage is written in the client's own short form."""
    answer = s.mine("search", "roses in spring", collection=s.mine_collection, limit=3)
    holds(answer.results, "hits of the one-line search")
    contains(str(answer.results[0]), "roses", "first hit")
    holds(len(answer.results) <= 3, "at most as many as asked for")


def others(s):
    """Calls of the wrapper that may say 501 for now."""
    s.mine("documents.search", optional=True, query="roses")
    s.wrapped("namespaces.clone", s.mine_id, namespace_name="wrapped-clone", optional=True)
    s.mine("evaluations.list_datasets", optional=True)


def removal(s):
    """Everything of the wrapper's namespace is deleted, then the namespace."""
    s.mine("collections.delete", s.mine_collection)
    s.mine("buckets.delete", s.mine_bucket)
    s.wrapped("namespaces.delete", s.mine_id)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            s.wrapped.client.namespaces.get(s.mine_id)
        except MixpeekAPIError as e:
            equal(e.status, 404, "a deleted namespace")
            return
        time.sleep(0.1)
    raise Mismatch("the namespace is still there after 30 s")


STEPS = [namespace, bucket, collection, documents, retriever, search, others, removal]
