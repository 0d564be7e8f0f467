"""What no story needs: every way to write a blob, documents without an object, registries, counts, streams."""

import base64
import json

import mixpeek
from mixpeek.exceptions import UnprocessableEntityException

import corpus
from recorder import Mismatch, contains, equal, holds
from retrieval import INPUTS, stages


def blobs(s):
    """A text is written in every form that the client describes, and read back as text; what is none is refused."""
    text = "Roses and “quotes”, written in every way."
    encoded = base64.b64encode(text.encode()).decode()
    forms = {
        "plain": text,
        "object": {"text": text},
        "base64 object": {"base64": encoded, "mime_type": "text/plain"},
        "data URI": "data:text/plain;charset=utf-8;base64," + encoded,
    }
    for name, data in forms.items():
        made = s.typed(
            "BucketObjectsApi.create_object_buckets",
            s.bucket_id,
            mixpeek.CreateObjectRequest.from_dict({"blobs": [{"property": "content", "type": "text", "data": data}]}),
            gives=mixpeek.ObjectResponse,
        )
        blob = made.blobs[0]
        equal((blob.var_property, blob.type.value), ("content", "text"), f"{name}: property and type")
        equal(blob.properties.get("data"), text, f"{name}: the text")
        equal(blob.details.size_bytes, len(text.encode()), f"{name}: size_bytes")
        s.typed("BucketObjectsApi.delete_object_buckets", s.bucket_id, made.object_id, gives=None, status=204)
    for name, data in {"bare base64 of a text": encoded, "nothing in an object": {"path": "x"}, "two things": {"base64": encoded, "url": "http://a/"}}.items():
        body = s.typed.refused(
            422,
            "ValidationError",
            "BucketObjectsApi.create_object_buckets",
            s.bucket_id,
            mixpeek.CreateObjectRequest.from_dict({"blobs": [{"property": "content", "type": "text", "data": data}]}),
        )
        contains(body["error"]["message"], "blobs[0].data", f"{name}: the message says where")
    s.typed.refused(
        422, "ValidationError", "BucketObjectsApi.create_object_buckets", s.bucket_id, mixpeek.CreateObjectRequest.from_dict({"auto_process": True, "blobs": corpus.item(0)["blobs"]})
    )


def all_wrong(s):
    """A bulk of which nothing is written is 422, and still lists its failures."""
    wrong = mixpeek.CreateObjectRequest.from_dict({"year": "late", "blobs": corpus.item(0)["blobs"]})
    try:
        answer = s.typed("BucketObjectsApi.create_objects_batch_buckets", s.bucket_id, mixpeek.CreateObjectsBatchRequest(objects=[wrong, wrong]), gives=object)
    except UnprocessableEntityException as e:
        read = mixpeek.CreateObjectsBatchResponse.from_json(e.body)
        equal((read.succeeded_count, read.failed_count, [f.object_index for f in read.failed]), (0, 2, [0, 1]), "the answer of a bulk that failed")
        holds(isinstance(e.data, mixpeek.ErrorResponse), "it reads as an error too")
        return
    raise Mismatch(f"expected a refusal with 422, got {str(answer)[:300]}")


def put(s):
    """PUT of an object keeps what is left out; members of the platform cannot be changed."""
    before = s.typed("BucketObjectsApi.get_object_buckets", s.bucket_id, s.objects[3], gives=mixpeek.ObjectResponse)
    after = s.typed(
        "BucketObjectsApi.update_object_buckets", s.bucket_id, s.objects[3], mixpeek.UpdateObjectRequest.from_dict({"note": "kept"}), gives=mixpeek.ObjectResponse
    )
    for field in ("topic", "year"):
        equal(after.additional_properties[field], before.additional_properties[field], f"{field} after a PUT that left it out")
    equal((after.additional_properties["note"], len(after.blobs)), ("kept", len(before.blobs)), "the new field, and the blobs")
    for call, body in (("patch_object_buckets", mixpeek.PatchObjectRequest), ("update_object_buckets", mixpeek.UpdateObjectRequest)):
        s.typed.refused(422, "ValidationError", "BucketObjectsApi." + call, s.bucket_id, s.objects[3], body.from_dict({"status": "COMPLETED"}))


def direct(s):
    """Documents without an object: written, listed by several questions, changed by filter and by id alone."""
    made = s.typed(
        "CollectionDocumentsApi.create_document",
        s.collection_id,
        mixpeek.DocumentCreateRequest.from_dict({"collection_id": s.collection_id, "topic": "direct", "year": 2001, "metadata": {"by": "hand"}}),
        gives=mixpeek.DocumentResponse,
    )
    equal((made.collection_id, made.additional_properties["topic"]), (s.collection_id, "direct"), "the document")
    several = s.typed(
        "DocumentsApi.list_documents_batch",
        mixpeek.BatchListDocumentsRequest.from_dict(
            {
                "queries": [
                    {
                        "key": topic,
                        "request": {"collection_ids": [s.collection_id], "filters": {"AND": [{"field": "topic", "operator": "eq", "value": topic}]}, "limit": 50},
                    }
                    for topic in ("direct", "heat")
                ]
            }
        ),
        gives=mixpeek.BatchListDocumentsResponse,
    )
    equal([(a.key, len(a.response.results)) for a in several.results], [("direct", 1), ("heat", 3)], "answers of the questions")
    changed = s.typed(
        "CollectionDocumentsApi.bulk_update",
        s.collection_id,
        mixpeek.BulkUpdateDocumentsRequest.from_dict({"filters": {"AND": [{"field": "topic", "operator": "eq", "value": "direct"}]}, "update_data": {"seen": True}}),
        gives=mixpeek.BulkUpdateDocumentsResponse,
    )
    equal(changed.updated_count, 1, "updated_count")
    one = s.typed("DocumentsApi.patch_document_ns", made.document_id, {"rating": 3}, gives=mixpeek.DocumentResponse)
    equal((one.additional_properties["seen"], one.additional_properties["rating"]), (True, 3), "both changes")
    again = s.typed("DocumentsApi.update_document_ns", made.document_id, {"topic": "direct", "rating": 4}, gives=mixpeek.DocumentResponse)
    equal(again.additional_properties["rating"], 4, "rating after a PUT")
    s.typed("CollectionDocumentsApi.delete_document", s.collection_id, made.document_id, gives=mixpeek.GenericDeleteResponse)


def registries(s):
    """Registries in their other forms."""
    everything = s.typed("DiscoveryApi.get_all_discovery", gives=mixpeek.DiscoveryResponse)
    extractors = s.typed("DiscoveryApi.list_extractors_discovery", gives=[mixpeek.ExtractorDiscovery])
    stages = s.typed("DiscoveryApi.list_stages_with_examples_discovery", gives=[mixpeek.StageDiscovery])
    equal(([e.name for e in everything.extractors], [x.stage_id for x in everything.stages]), ([e.name for e in extractors], [x.stage_id for x in stages]), "both at once, and each")
    holds(all(x.example_config for x in stages), "every stage has an example")
    listed = s.typed("NamespaceExtractorsApi.list_extractors_namespaces", s.namespace_id, gives=mixpeek.UnifiedExtractorListResponse)
    for e in listed.extractors:
        one = s.typed("NamespaceExtractorsApi.get_extractor_namespaces", s.namespace_id, e.feature_extractor_id, gives=mixpeek.UnifiedExtractorResponse)
        equal(one.feature_extractor_name, e.feature_extractor_name, "an extractor of the namespace")
    s.typed("HealthApi.celery_beat_health", gives=object)


def counts(s):
    """Counts of a namespace, of several, and what the organization has left."""
    one = s.typed("NamespacesApi.get_namespace_stats", s.namespace_id, gives=mixpeek.NamespaceStatsResponse)
    equal((one.bucket_count, one.collection_count, one.object_count, one.document_count), (1, 2, 8, 16), "counts of the namespace")
    several = s.typed("NamespacesApi.get_namespace_stats_batch", mixpeek.NamespaceStatsBatchRequest(namespace_ids=[s.namespace_id]), gives=mixpeek.NamespaceStatsBatchResponse)
    equal(several.stats[s.namespace_id].to_dict(), one.to_dict(), "counts of several namespaces")
    put = s.typed("NamespacesApi.update_namespace", s.namespace_id, mixpeek.UpdateNamespaceRequest(namespace_name="client-suite"), gives=mixpeek.NamespaceModel)
    equal((put.namespace_name, put.description), ("client-suite", "changed"), "the namespace after a PUT")
    s.typed("OrganizationsApi.get_credits_organizations", gives=dict)


def nothing(s):
    """A trigger that finds no objects is accepted, fails with its reason, and leaves no draft behind."""
    before = s.typed("BatchesApi.list_all_batches", gives=mixpeek.ListBatchesResponse).total_count
    started = s.typed(
        "CollectionsApi.trigger_collection",
        s.collection_id,
        mixpeek.TriggerCollectionRequest.from_dict({"source_filters": {"AND": [{"field": "topic", "operator": "eq", "value": "none"}]}}),
        gives=mixpeek.TriggerCollectionResponse,
        status=202,
    )
    equal((started.batch_id, started.batch_ids, started.object_count), (None, [], 0), "no batch")
    task = s.typed("TasksApi.get_task", started.task_id, gives=mixpeek.TaskResponse)
    equal((task.status.value, task.task_type.value), ("FAILED", "api_collections_trigger"), "its task")
    contains(task.error, "no objects", "the task's reason")
    equal(s.typed("BatchesApi.list_all_batches", gives=mixpeek.ListBatchesResponse).total_count, before, "batches afterwards")


def streamed(s):
    """An execution that is streamed announces its stages and ends with the whole answer."""
    text = s.typed(
        "AdhocRetrieversApi.execute_adhoc_retriever",
        mixpeek.AdhocExecuteRequest.from_dict(
            {"stages": stages(s), "collection_identifiers": [s.collection_id], "input_schema": INPUTS, "inputs": {"query": "wings", "since": 1900}, "stream": True}
        ),
        gives=str,
    )
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    equal([e["event_type"] for e in events], ["stage_start", "stage_complete"] * 3 + ["execution_complete"], "events")
    equal([e["stage_name"] for e in events[:-1:2]], ["search", "recent", "few"], "stages")
    end = events[-1]
    holds(end["documents"] and end["documents"] == end["results"], "the last event has the documents")
    equal({e["execution_id"] for e in events}, {end["execution_id"]}, "one execution")


STEPS = [blobs, all_wrong, put, direct, registries, counts, nothing, streamed]
