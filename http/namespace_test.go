package http

import (
	"testing"

	. "varve/http/scenario"
)

var namespaceCreated = []string{"namespace.created", "namespace.configured"}

func TestNamespaceScenario(t *testing.T) {
	newStack(t).Play(t,
		Step{Name: "create", Do: "POST /v1/namespaces", Body: `{"namespace_name":"films","description":"d","ttl_seconds":3600}`, Events: namespaceCreated, Save: map[string]string{"ns": "namespace_id"},
			Check: map[string]any{"namespace_id": Match("^ns_[0-9a-f]{10}$"), "namespace_name": "films", "mode": "managed", "document_count": 0, "namespace_ready": true, "expires_at": Present,
				"feature_extractors.0.feature_extractor_id": Present, "payload_indexes.0.is_protected": true}},
		Step{Name: "name taken", Do: "POST /v1/namespaces", Body: `{"namespace_name":"films"}`, Status: 409, Check: map[string]any{"error.code": "namespace_name_taken", "error.type": "AlreadyExistsError"}},
		Step{Name: "chosen id", Do: "POST /v1/namespaces", Body: `{"namespace_name":"books","namespace_id":"Books-1"}`, Events: namespaceCreated, Check: map[string]any{"namespace_id": "Books-1"}},
		Step{Name: "bad id", Do: "POST /v1/namespaces", Body: `{"namespace_name":"bad one","namespace_id":"a/b"}`, Status: 422},
		Step{Name: "short name", Do: "POST /v1/namespaces", Body: `{"namespace_name":"x"}`, Status: 422},
		Step{Name: "no name", Do: "POST /v1/namespaces", Status: 422, Check: map[string]any{"error.details.validation_errors.0.location": []string{"body", "namespace_name"}}},
		Step{Name: "unknown extractor", Do: "POST /v1/namespaces", Body: `{"namespace_name":"odd one","feature_extractors":[{"feature_extractor_name":"magic","version":"v1"}]}`, Status: 422, Check: map[string]any{"error.code": "feature_extractor_not_found"}},
		Step{Name: "one extractor", Do: "POST /v1/namespaces", Body: `{"namespace_name":"texts","feature_extractors":[{"feature_extractor_name":"text_extractor","version":"v1"}],"payload_indexes":[{"field_name":"metadata.year","type":"integer"}]}`, Events: namespaceCreated,
			Check: map[string]any{"feature_extractors": []any{map[string]any{"feature_extractor_name": "text_extractor", "version": "v1", "params": nil, "feature_extractor_id": "text_extractor_v1"}}, "payload_indexes.5.field_name": "metadata.year"}},
		Step{Name: "standalone is inferred", Do: "POST /v1/namespaces", Body: `{"namespace_name":"vectors","vector_configs":[{"name":"v","dimension":3}]}`, Events: namespaceCreated,
			Check: map[string]any{"mode": "standalone", "vector_configs.0.metric": "cosine", "feature_extractors.#": 0}},
		Step{Name: "bad vector", Do: "POST /v1/namespaces", Body: `{"namespace_name":"vectors2","vector_configs":[{"name":"v"}]}`, Status: 422, Check: map[string]any{"error.details.validation_errors.0.location": []any{"body", "vector_configs", 0, "dimension"}}},
		Step{Name: "bad ttl names its path", Do: "POST /v1/namespaces", Body: `{"namespace_name":"brief","ttl_seconds":1}`, Status: 422, Check: map[string]any{"error.details.validation_errors.0.location": []any{"body", "ttl_seconds"}}},
		Step{Name: "unknown member", Do: "POST /v1/namespaces", Body: `{"namespace_name":"warned","colour":"red"}`, Events: namespaceCreated, Check: map[string]any{"warnings.0": Match("colour")}},
		Step{Name: "authorization that nobody enforces", Do: "POST /v1/namespaces", Body: `{"namespace_name":"guarded","infrastructure":{"authorization":{"enabled":true}}}`, Status: 501},
		Step{Name: "by id", Do: "GET /v1/namespaces/${ns}", Check: map[string]any{"namespace_name": "films"}},
		Step{Name: "by name", Do: "GET /v1/namespaces/films/", Check: map[string]any{"namespace_id": "${ns}", "bucket_count": 0}},
		Step{Name: "of another organization", Do: "GET /v1/namespaces/${ns}", As: "other", Status: 404},
		Step{Name: "stats", Do: "GET /v1/namespaces/films/stats", Check: map[string]any{"namespace_id": "${ns}", "document_count": 0, "object_count": 0}},
		Step{Name: "stats of many", Do: "POST /v1/namespaces/stats/batch", Body: `{"namespace_ids":["films","nowhere"]}`, Check: map[string]any{"stats.#": 1, "stats.films.namespace_id": "${ns}"}},
		Step{Name: "list", Do: "GET /v1/namespaces?limit=2", Check: map[string]any{"results.#": 2, "total_count": 5, "pagination.next_cursor": Present, "pagination.total": Absent}, Save: map[string]string{"next": "pagination.next_cursor"}},
		Step{Name: "next page", Do: "POST /v1/namespaces/list", Body: `{"limit":2,"cursor":"${next}"}`, Check: map[string]any{"results.#": 2}},
		Step{Name: "empty body", Do: "POST /v1/namespaces/list?include_total=true", Check: map[string]any{"results.#": 5, "pagination.total": 5, "pagination.total_pages": 1}},
		Step{Name: "search", Do: "POST /v1/namespaces/list", Body: `{"search":"FILM","filters":null}`, Check: map[string]any{"results.#": 1, "results.0.namespace_id": "${ns}"}},
		Step{Name: "sorted", Do: "POST /v1/namespaces/list", Body: `{"sort":{"field":"namespace_name","direction":"desc"}}`, Check: map[string]any{"results.0.namespace_name": "warned"}},
		Step{Name: "none of the other's", Do: "GET /v1/namespaces", As: "other", Check: map[string]any{"results.#": 0, "total_count": 0}},
		Step{Name: "rename and describe", Do: "PATCH /v1/namespaces/films", Body: `{"namespace_name":"movies","description":"e"}`, Events: []string{"namespace.renamed", "namespace.configured"}, Check: map[string]any{"namespace_name": "movies", "description": "e", "namespace_id": "${ns}"}},
		Step{Name: "nothing to change", Do: "PATCH /v1/namespaces/movies", Check: map[string]any{"namespace_name": "movies"}},
		Step{Name: "stale version", Do: "PATCH /v1/namespaces/movies", Body: `{"description":"f"}`, Header: map[string]string{"If-Match": `"1"`}, Status: 409, Check: map[string]any{"error.code": "version_mismatch"}},
		Step{Name: "this version", Do: "PUT /v1/namespaces/movies", Body: `{"payload_indexes":[{"field_name":"metadata.genre","type":"keyword"},{"field_name":"internal_id","type":"keyword","is_protected":true}]}`, Header: map[string]string{"If-Match": `"2"`},
			Events: []string{"namespace.configured"}, Check: map[string]any{"payload_indexes.#": 6, "description": "e"}},
		Step{Name: "viewer reads", Do: "GET /v1/namespaces/movies", As: "viewer"},
		Step{Name: "viewer writes nothing", Do: "PATCH /v1/namespaces/movies", As: "viewer", Body: `{"description":"x"}`, Status: 403},
		Step{Name: "reader deletes nothing", Do: "DELETE /v1/namespaces/movies", As: "reader", Status: 403},
		Step{Name: "delete", Do: "DELETE /v1/namespaces/movies", Events: []string{"namespace.deleted", "namespace.closed"}, Check: map[string]any{"task_id": Match("^task_")}},
		Step{Name: "gone", Do: "GET /v1/namespaces/${ns}", Status: 404, Check: map[string]any{"error.code": "namespace_not_found"}},
	)
}

func TestRegistriesScenario(t *testing.T) {
	newStack(t).Play(t,
		Step{Do: "POST /v1/namespaces", Body: `{"namespace_name":"films"}`, Events: namespaceCreated},
		Step{Do: "GET /v1/collections/features/extractors", Check: map[string]any{"0.feature_extractor_id": Present}},
		Step{Do: "GET /v1/collections/features/extractors/text_extractor_v1", Check: map[string]any{"feature_extractor_name": "text_extractor"}},
		Step{Do: "GET /v1/collections/features/extractors/text_extractor", Check: map[string]any{"version": "v1"}},
		Step{Name: "no such extractor", Do: "GET /v1/collections/features/extractors/magic_v1", Status: 404, Check: map[string]any{"error.code": "feature_extractor_not_found"}},
		Step{Do: "GET /v1/collections/features", Check: map[string]any{"modalities.0.features.0.feature_uri": Match("^mixpeek://")}},
		Step{Do: "GET /v1/extractors?source=builtin", Check: map[string]any{"extractors.0.source": "builtin"}},
		Step{Do: "GET /v1/extractors?source=custom", Check: map[string]any{"extractors.#": 0}},
		Step{Do: "GET /v1/namespaces/films/extractors", Check: map[string]any{"namespace_id": Match("^ns_")}},
		Step{Do: "GET /v1/namespaces/films/extractors/text_extractor_v1"},
		Step{Name: "no such namespace", Do: "GET /v1/namespaces/nowhere/extractors", Status: 404},
		Step{Do: "GET /v1/discovery/extractors", Check: map[string]any{"0.name": Present}},
		Step{Do: "GET /v1/retrievers/stages", Check: map[string]any{"0.stage_id": Present}},
		Step{Do: "GET /v1/discovery/stages", Check: map[string]any{"0.cost_tier": Present}},
		Step{Do: "GET /v1/discovery", Check: map[string]any{"extractors.0.name": Present, "stages.0.stage_id": Present}},
		Step{Name: "for everyone", Do: "GET /v1/discovery", As: "nobody"},
		Step{Name: "but not those of a namespace", Do: "GET /v1/namespaces/films/extractors", As: "nobody", Status: 401},
	)
}
