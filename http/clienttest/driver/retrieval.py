"""Retrievers: create, execute, explain; executions; and the same stages ad hoc."""

import json

import mixpeek

import corpus
from recorder import contains, equal, holds


def stages(s, question="{{INPUT.query}}"):
    """A search on the collection's primary feature, then a filter on a template, then a limit."""
    return [
        {
            "stage_name": "search",
            "stage_type": "filter",
            "config": {
                "stage_id": "feature_search",
                "parameters": {
                    "searches": [
                        {"feature_uri": s.feature_uri, "query": {"input_mode": "text", "value": question}, "top_k": 20},
                        {"feature_uri": s.feature_uri, "query": {"input_mode": "text", "value": question}, "top_k": 20, "lexical": True},
                    ],
                    "fusion": "rrf",
                    "final_top_k": 8,
                },
            },
        },
        {
            "stage_name": "recent",
            "stage_type": "filter",
            "config": {
                "stage_id": "attribute_filter",
                "parameters": {"field": "year", "operator": "gte", "value": "{{INPUT.since}}"},
            },
        },
        {"stage_name": "few", "stage_type": "reduce", "config": {"stage_id": "limit", "parameters": {"limit": 5}}},
    ]


INPUTS = {
    "query": {"type": "string", "required": True, "description": "what to look for"},
    "since": {"type": "integer", "default": 1900},
}


def create(s):
    """A retriever is created, listed, read by name and changed."""
    made = s.typed(
        "RetrieversApi.create_retriever",
        mixpeek.CreateRetrieverRequest.from_dict(
            {
                "retriever_name": "texts",
                "stages": stages(s),
                "collection_identifiers": ["sentences"],
                "input_schema": INPUTS,
                "tags": ["suite"],
            }
        ),
        gives=mixpeek.RetrieverConfig,
    )
    s.retriever_id = made.retriever_id
    equal((made.retriever_name, made.version), ("texts", 1), "name and version")
    equal([x.stage_name for x in made.stages], ["search", "recent", "few"], "stages")
    equal(made.stages[2].parameters, {"limit": 5}, "parameters mirror config.parameters")
    equal(made.stages[2].config["parameters"], {"limit": 5}, "config.parameters")
    holds(made.collection_ids == [s.collection_id] or made.collection_identifiers == [s.collection_id], "the collection, by id")
    by_name = s.typed("RetrieversApi.get_retriever", "texts", gives=mixpeek.RetrieverModelOutput)
    equal((by_name.retriever_id, by_name.is_published), (made.retriever_id, False), "read by name")
    for listed in (
        s.typed("RetrieversApi.list_retrievers", gives=mixpeek.ListRetrieversResponse),
        s.typed("RetrieversApi.list_retrievers_get", gives=mixpeek.ListRetrieversResponse),
    ):
        equal([r.retriever_id for r in listed.results], [made.retriever_id], "listed retrievers")
    changed = s.typed(
        "RetrieversApi.patch_retriever",
        s.retriever_id,
        mixpeek.PatchRetrieverRequest(description="finds texts"),
        gives=mixpeek.PatchRetrieverResponse,
    ).retriever
    equal(changed.description, "finds texts", "description")
    equal([x.stage_name for x in changed.stages], ["search", "recent", "few"], "stages are kept")


def execute(s, **inputs):
    """One execution, its two copies of the hits held against each other."""
    answer = s.typed(
        "RetrieversApi.execute_retriever",
        s.retriever_id,
        mixpeek.ExecuteRetrieverRequest(inputs=inputs),
        gives=mixpeek.ExecuteRetrieverResponse,
    )
    equal(answer.status, "completed", "status")
    equal(answer.results, answer.documents, "results and documents are the same")
    scores = [d["score"] for d in answer.documents]
    holds(all(type(x) in (int, float) for x in scores), f"every score is a number, got {scores}")
    equal(scores, sorted(scores, reverse=True), "scores fall")
    return answer


def executions_by_question(s):
    """Every question has its text first, and the same question the same answer."""
    for question, topic, year in corpus.QUESTIONS:
        answer = s.execution = execute(s, query=question)
        holds(answer.documents, f"hits for {question!r}")
        first = answer.documents[0]
        equal((first["topic"], first["year"]), (topic, year), f"first hit for {question!r}")
        equal(first["document_id"], s.documents[year].document_id, "its document_id")
        equal(first["collection_id"], s.collection_id, "its collection_id")
        again = execute(s, query=question)
        equal(again.documents, answer.documents, "the same question again")
        holds(again.execution_id != answer.execution_id, "each execution has an id of its own")
    equal(sorted(answer.stage_statistics.stages), ["few", "recent", "search"], "statistics by the stages' names")
    few = answer.stage_statistics.stages["few"]
    equal(few.output_count, len(answer.documents), "output_count of the last stage")


def filtered(s):
    """An input reaches the filter as a number; a default stands in for one that is left out."""
    answer = execute(s, query=corpus.QUESTIONS[0][0], since=1962)
    holds(answer.documents, "hits since 1962")
    holds(all(d["year"] >= 1962 for d in answer.documents), f"years since 1962, got {[d['year'] for d in answer.documents]}")
    narrowed = s.typed(
        "RetrieversApi.execute_retriever",
        s.retriever_id,
        mixpeek.ExecuteRetrieverRequest(inputs={"query": corpus.QUESTIONS[0][0]}, filters={"AND": [{"field": "topic", "operator": "eq", "value": "gardens"}]}),
        gives=mixpeek.ExecuteRetrieverResponse,
    )
    equal({d["topic"] for d in narrowed.documents}, {"gardens"}, "a filter of the request joins the stages'")
    body = s.typed.refused(
        422, "ValidationError", "RetrieversApi.execute_retriever", s.retriever_id, mixpeek.ExecuteRetrieverRequest(inputs={"since": 1960})
    )
    contains(json.dumps(body), "query", "the refusal names the missing input")


def paged(s):
    """Pages of an execution follow each other without a gap."""
    whole = execute(s, query=corpus.QUESTIONS[0][0])
    seen = []
    for number in (1, 2, 3):
        page = s.typed(
            "RetrieversApi.execute_retriever",
            s.retriever_id,
            mixpeek.ExecuteRetrieverRequest(
                inputs={"query": corpus.QUESTIONS[0][0]},
                pagination=mixpeek.Pagination1.from_dict({"method": "offset", "page_size": 2, "page_number": number}),
            ),
            gives=mixpeek.ExecuteRetrieverResponse,
        )
        equal(page.pagination["returned"], len(page.documents), "pagination.returned")
        seen += [d["document_id"] for d in page.documents]
    equal(seen, [d["document_id"] for d in whole.documents], "three pages of two")


def explain(s):
    """The plan is shown without running it."""
    plan = s.typed(
        "RetrieversApi.explain_retriever_execution_id_execute",
        s.retriever_id,
        mixpeek.ExplainRetrieverRequest(inputs={"query": "wings"}),
        gives=mixpeek.ExplainRetrieverResponse,
    )
    equal((plan.retriever_id, plan.retriever_name), (s.retriever_id, "texts"), "of which retriever")
    equal(plan.total_estimated_stages, len(plan.execution_plan), "total_estimated_stages")
    holds(plan.execution_plan and plan.execution_plan[0].estimated_output >= 0, "the plan has stages")


def executions(s):
    """Executions are listed, and each can be read again with its documents."""
    listed = s.typed("RetrieversApi.list_executions_retrievers", s.retriever_id, limit=100, gives=mixpeek.ListExecutionsResponse)
    contains([e.execution_id for e in listed.results], s.execution.execution_id, "listed executions")
    equal((listed.pagination.limit, listed.pagination.offset), (100, 0), "pagination")
    holds(listed.pagination.total >= len(listed.results) > 5, f"more than five executions, got {listed.pagination.total}")
    one = s.typed("RetrieversApi.get_execution_retrievers", s.retriever_id, s.execution.execution_id, gives=mixpeek.ExecutionDetail)
    equal((one.execution_id, one.status), (s.execution.execution_id, "completed"), "id and status")
    equal([d["document_id"] for d in one.documents], [d["document_id"] for d in s.execution.documents], "documents as they were answered")
    equal([d["score"] for d in one.documents], [d["score"] for d in s.execution.documents], "scores as they were answered")
    equal((one.documents_retained, one.total_returned), (True, len(s.execution.documents)), "retained and counted")
    equal(one.total_stages, 3, "total_stages")
    status = s.typed("RetrieversApi.get_execution_status_retrievers", s.retriever_id, s.execution.execution_id, gives=dict)
    equal(status["status"], "completed", "status alone")
    s.typed(
        "RetrieversApi.get_execution_profile_retrievers", s.retriever_id, s.execution.execution_id, gives=dict, optional=True
    )


def ad_hoc(s):
    """The same stages without a retriever."""
    answer = s.typed(
        "AdhocRetrieversApi.execute_adhoc_retriever",
        mixpeek.AdhocExecuteRequest.from_dict(
            {
                "stages": stages(s),
                "collection_identifiers": [s.collection_id],
                "input_schema": INPUTS,
                "inputs": {"query": corpus.QUESTIONS[1][0], "since": 1900},
            }
        ),
        gives=dict,
    )
    equal(answer["status"], "completed", "status")
    equal(answer["documents"][0]["year"], corpus.QUESTIONS[1][2], "first hit")
    equal(answer["results"], answer["documents"], "results and documents are the same")
    listed = s.typed("AdhocRetrieversApi.list_adhoc_executions_retrievers", gives=mixpeek.ListAdhocExecutionsResponse)
    contains([e.execution_id for e in listed.results], answer["execution_id"], "listed ad hoc executions")
    one = s.typed("AdhocRetrieversApi.get_adhoc_execution_retrievers", answer["execution_id"], gives=mixpeek.AdhocExecutionDetail)
    equal((one.execution_mode, one.total_returned), ("adhoc", len(answer["documents"])), "mode and count")


def more(s):
    """What is served beyond the first application, or says that it is not."""
    s.typed(
        "FeatureSearchApi.feature_search",
        mixpeek.FeatureSearchRequest.from_dict(
            {"query": {"text": corpus.QUESTIONS[0][0]}, "collection_identifiers": [s.collection_id], "feature_uri": s.feature_uri}
        ),
        gives=object,
        optional=True,
    )
    s.typed(
        "RetrieversApi.execute_batch_retrievers",
        s.retriever_id,
        mixpeek.ExecuteBatchRequest.from_dict({"queries": [{"inputs": {"query": q[0]}} for q in corpus.QUESTIONS]}),
        gives=object,
        optional=True,
    )
    s.typed(
        "RetrieversApi.clone_retriever",
        s.retriever_id,
        mixpeek.CloneRetrieverRequest(retriever_name="texts-copy"),
        gives=mixpeek.CloneRetrieverResponse,
        optional=True,
    )
    s.typed("RetrieversApi.typeahead_retrievers", "win", gives=mixpeek.TypeaheadResponse, optional=True)


STEPS = [create, executions_by_question, filtered, paged, explain, executions, ad_hoc, more]
