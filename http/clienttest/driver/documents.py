"""Documents: lists, filters, counts, reads, changes; and where each came from."""

import json

import mixpeek

import corpus
from recorder import contains, equal, holds


def field(document, name):
    """A field of the user, which stands at the top level of a document."""
    return document.additional_properties.get(name)


def every(documents, name):
    """One field of several documents, in order (missing ones are shown, not an error)."""
    return sorted((field(d, name) for d in documents), key=str)


def condition(name, operator, value):
    """A filter of one condition, the way a user of the generated layer builds it."""
    return mixpeek.LogicalOperatorInput.from_dict({"AND": [{"field": name, "operator": operator, "value": value}]})


def lists(s):
    """Every text became one document, with its fields and its origin."""
    listed = s.typed(
        "CollectionDocumentsApi.list_documents",
        s.collection_id,
        include_total=True,
        list_documents_request=mixpeek.ListDocumentsRequest(limit=100),
        gives=mixpeek.ListDocumentsResponse,
    )
    s.documents = {field(d, "year"): d for d in listed.results}
    copies = s.typed("CollectionDocumentsApi.list_documents_0", s.copies_id, page_size=100, gives=mixpeek.ListDocumentsResponse)
    s.copies = copies.results
    equal((len(listed.results), listed.pagination.total), (8, 8), "documents")
    equal(sorted(((field(d, "topic"), field(d, "year")) for d in listed.results), key=str), sorted((t[:2] for t in corpus.TEXTS), key=str), "fields passed through")
    for d in listed.results:
        equal(d.collection_id, s.collection_id, "collection_id")
        holds(d.document_id.startswith("doc_"), f"document_id starts with doc_, got {d.document_id}")
        contains(s.objects, d.internal.lineage.root_object_id, "root object")
    year, text = 1964, corpus.TEXTS[7][2]
    contains(json.dumps(s.documents[year].additional_properties), text, "the document's text")
    equal(every(copies.results, "subject"), sorted(t[0] for t in corpus.TEXTS), "a field under its new name")


def pages(s):
    """Pages hold each document once; sorting holds across pages."""
    years, cursor = [], None
    for _ in range(10):
        page = s.typed(
            "CollectionDocumentsApi.list_documents_0",
            s.collection_id,
            page_size=3,
            cursor=cursor,
            sort="year:desc",
            gives=mixpeek.ListDocumentsResponse,
        )
        years += [field(d, "year") for d in page.results]
        cursor = page.pagination.next_cursor
        if not cursor:
            break
    equal(years, sorted((t[1] for t in corpus.TEXTS), reverse=True), "years over all pages")


def filters(s):
    """Filters, as a body of the typed layer, in the query, and over the namespace."""
    found = s.typed(
        "CollectionDocumentsApi.list_documents",
        s.collection_id,
        list_documents_request=mixpeek.ListDocumentsRequest(filters=condition("topic", "eq", "heat"), limit=50),
        gives=mixpeek.ListDocumentsResponse,
    )
    equal(every(found.results, "year"), [1957, 1959, 1962], "topic eq heat")
    found = s.typed(
        "CollectionDocumentsApi.list_documents_0",
        s.collection_id,
        filters=json.dumps({"AND": [{"field": "year", "operator": "gte", "value": 1962}], "NOT": [{"field": "topic", "value": "wings"}]}),
        page_size=50,
        gives=mixpeek.ListDocumentsResponse,
    )
    equal(every(found.results, "year"), [1962, 1964], "year gte 1962 and not wings")
    found = s.typed(
        "DocumentsApi.list_documents_ns",
        namespace_list_documents_request=mixpeek.NamespaceListDocumentsRequest(
            collection_ids=[s.collection_id], filters=condition("year", "in", [1958, 1960]), limit=50
        ),
        gives=mixpeek.ListDocumentsResponse,
        optional=True,
    )
    if found is not None:
        equal(every(found.results, "year"), [1958, 1960], "year in, over the namespace")
    nothing = s.typed(
        "CollectionDocumentsApi.list_documents",
        s.collection_id,
        list_documents_request=mixpeek.ListDocumentsRequest(filters=condition("no_such_field", "eq", "x")),
        gives=mixpeek.ListDocumentsResponse,
    )
    equal(nothing.results, [], "a filter on a missing field matches nothing")


def reads(s):
    """A document is counted, read by both paths, changed by both methods."""
    count = s.typed("CollectionDocumentsApi.count_documents", s.collection_id, gives=mixpeek.DocumentCountResponse)
    equal((count.collection_id, count.count), (s.collection_id, 8), "count")
    garden = s.documents[1960].document_id
    one = s.typed("CollectionDocumentsApi.get_document", s.collection_id, garden, gives=mixpeek.DocumentResponse)
    equal((one.document_id, field(one, "topic")), (garden, "gardens"), "the document")
    by_id = s.typed("DocumentsApi.get_document_ns", garden, gives=mixpeek.DocumentResponse, optional=True)
    if by_id is not None:
        equal(by_id.to_dict(), one.to_dict(), "the same document by its id alone")
    patched = s.typed(
        "CollectionDocumentsApi.patch_document", s.collection_id, garden, {"rating": 5}, gives=mixpeek.DocumentResponse
    )
    equal((field(patched, "rating"), field(patched, "topic")), (5, "gardens"), "a field added, another kept")
    again = s.typed("CollectionDocumentsApi.get_document", s.collection_id, garden, gives=mixpeek.DocumentResponse)
    equal(field(again, "rating"), 5, "the field on the next read")
    put = s.typed(
        "CollectionDocumentsApi.update_document",
        s.collection_id,
        garden,
        {"rating": 4, "topic": "gardens", "year": 1960},
        gives=mixpeek.DocumentResponse,
    )
    equal(field(put, "rating"), 4, "rating after the second change")


def many(s):
    """Many at once: batch-get, distinct values, aggregates, batch update."""
    ids = [s.documents[y].document_id for y in (1958, 1961)]
    got = s.typed(
        "DocumentsApi.batch_get",
        mixpeek.BatchGetDocumentsRequest(document_ids=ids + ["doc_missing"]),
        gives=mixpeek.BatchGetDocumentsResponse,
        optional=True,
    )
    if got is not None:
        equal((sorted(d.document_id for d in got.documents), got.not_found), (sorted(ids), ["doc_missing"]), "batch-get")
    distinct = s.typed(
        "CollectionDocumentsApi.distinct_document_values",
        s.collection_id,
        mixpeek.DistinctValuesRequest(field="topic"),
        gives=mixpeek.DistinctValuesResponse,
        optional=True,
    )
    if distinct is not None:
        equal(sorted((v.value, v.count) for v in distinct.values), [("gardens", 2), ("heat", 3), ("wings", 3)], "distinct topics")
    updated = s.typed(
        "CollectionDocumentsApi.batch_update",
        s.collection_id,
        mixpeek.BatchUpdateDocumentsRequest.from_dict({"updates": [{"document_id": i, "update_data": {"seen": True}} for i in ids]}),
        gives=mixpeek.BatchUpdateDocumentsResponse,
        optional=True,
    )
    if updated is not None:
        equal(updated.updated_count, 2, "updated_count")


def lineage(s):
    """Where a document came from, in every form of the reference."""
    copy = s.copies[0]
    answer = s.typed("DocumentLineageApi.get_document_lineage", s.copies_id, copy.document_id, gives=mixpeek.DocumentLineageResponse)
    root = answer.lineage.root_object_id
    s.lineage_of, s.root = copy.document_id, root
    equal((answer.document_id, answer.collection_id), (copy.document_id, s.copies_id), "of which document")
    equal(answer.lineage.root_bucket_id, s.bucket_id, "root_bucket_id")
    contains(s.objects, answer.lineage.root_object_id, "root_object_id")
    equal(answer.lineage.source_collection_id, s.collection_id, "source_collection_id")
    equal([step.collection_id for step in answer.lineage.lineage_chain][:1], [s.collection_id], "first step of the chain")
    above = s.typed("CollectionDocumentsApi.get_document_ancestors", s.copies_id, copy.document_id, gives=[mixpeek.DocumentResponse])
    equal([d.document_id for d in above], [answer.lineage.source_document_id], "ancestors")
    below = s.typed(
        "CollectionDocumentsApi.get_document_descendants", s.collection_id, above[0].document_id, gives=[mixpeek.DocumentResponse]
    )
    equal([d.document_id for d in below], [copy.document_id], "descendants of the source document")
    derived = s.typed("DocumentLineageApi.get_documents_by_object", root, gives=dict)
    equal(derived["total_documents"], 2, "documents of the object")
    only = s.typed("DocumentLineageApi.get_documents_by_object", root, collection_ids=[s.copies_id], gives=dict)
    equal(only["total_documents"], 1, "documents of the object in one collection")
    tree = s.typed("DocumentLineageApi.get_decomposition_tree_objects", root, include_document_ids=True, gives=dict)
    for part in (s.collection_id, s.copies_id, copy.document_id):
        contains(json.dumps(tree), part, "decomposition tree")


def seed_lineage(s):
    """The platform's own two paths answer the same."""
    mine = s.wrapped.raw("GET", f"/documents/{s.lineage_of}/lineage")
    equal((mine["document_id"], mine["lineage"]["root_object_id"]), (s.lineage_of, s.root), "lineage by document")
    derived = s.wrapped.raw("GET", f"/objects/{s.root}/derived")
    equal(derived["total_documents"], 2, "derived documents")


STEPS = [lists, pages, filters, reads, many, lineage, seed_lineage]
