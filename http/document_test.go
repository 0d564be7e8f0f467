package http

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"varve/commands"
	"varve/domain"
	. "varve/http/scenario"
	"varve/projections"
)

var documentWritten = []string{"document.written"}

// notes makes a namespace with a bucket and a collection to which documents are written.
func notes(t *testing.T) *stack {
	t.Helper()
	st := newStack(t)
	st.Play(t,
		Step{Do: "POST /v1/namespaces", Body: `{"namespace_name":"films"}`, Events: namespaceCreated, Save: map[string]string{"ns": "namespace_id"}},
		Step{Do: "POST /v1/buckets", Namespace: "films", Body: `{"bucket_name":"reviews","bucket_schema":{"properties":{"text":{"type":"text"},"title":{"type":"string"}}}}`, AnyEvents: true, Save: map[string]string{"bucket": "bucket_id"}},
		Step{Do: "POST /v1/collections", Namespace: "films", AnyEvents: true, Save: map[string]string{"notes": "collection_id"},
			Body: `{"collection_name":"notes","source":{"type":"bucket","bucket_ids":["${bucket}"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","input_mappings":{"text":"text"},"field_passthrough":["title"]}}`},
		Step{Do: "POST /v1/collections", Namespace: "films", AnyEvents: true, Save: map[string]string{"again": "collection_id"},
			Body: `{"collection_name":"again","source":{"type":"collection","collection_id":"${notes}"},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","input_mappings":{"text":"text"}}}`},
	)
	return st
}

func TestDocumentScenario(t *testing.T) {
	const path = "/v1/collections/notes/documents"
	notes(t).Play(t,
		Step{Name: "create", Do: "POST " + path, Namespace: "films", Events: documentWritten, Save: map[string]string{"a": "document_id"},
			Body: `{"title":"Alien","year":1979,"price":12.50,"genres":["horror","space"],"metadata":{"lang":"en"},"content_hash":"h1","vectors":{"mood":[0.5,-1,2]}}`,
			Check: map[string]any{"document_id": Match("^doc_[0-9a-f]{24}$"), "collection_id": "${notes}", "title": "Alien", "price": json.Number("12.50"), "metadata.lang": "en", "document_blobs.#": 0, "searchable_at": Present,
				"_internal.namespace_id": "${ns}", "_internal.lineage.source_type": "direct_upsert", "_internal.lineage.chain.#": 0, "_internal.content_hash": "h1", "_internal.metadata.lang": "en", "_internal.created_at": Present}},
		Step{Name: "chosen id", Do: "POST /v1/collections/${notes}/documents/", Namespace: "films", Events: documentWritten, Body: `{"document_id":"b-1","collection_id":"notes","title":"Brazil","year":1985,"genres":["satire"],"sequel":"${a}","friends":["${a}","nobody"]}`, Check: map[string]any{"document_id": "b-1"}},
		Step{Name: "id taken", Do: "POST " + path, Namespace: "films", Body: `{"document_id":"b-1"}`, Status: 409, Check: map[string]any{"error.code": "document_exists"}},
		Step{Name: "bad id", Do: "POST " + path, Namespace: "films", Body: `{"document_id":"a/b"}`, Status: 422},
		Step{Name: "of another collection", Do: "POST " + path, Namespace: "films", Body: `{"collection_id":"again"}`, Status: 422},
		Step{Name: "metadata are an object", Do: "POST " + path, Namespace: "films", Body: `{"metadata":[1]}`, Status: 422, Check: map[string]any{"error.details.validation_errors.0.location": []string{"body", "metadata"}}},
		Step{Name: "a vector is of numbers", Do: "POST " + path, Namespace: "films", Body: `{"vectors":{"mood":["x"]}}`, Status: 422, Check: map[string]any{"error.details.validation_errors.0.location": []string{"body", "vectors", "mood"}}},
		Step{Name: "no such collection", Do: "POST /v1/collections/none/documents", Namespace: "films", Body: `{}`, Status: 404},
		Step{Name: "get", Do: "GET " + path + "/${a}?return_vectors=true", Namespace: "films", Save: map[string]string{"first": "_internal.updated_at"},
			Check: map[string]any{"year": 1979, "_vectors": map[string]any{"mixpeek://text_extractor@v1/mood": []any{0.5, -1, 2}}}},
		Step{Name: "vectors by name", Do: "GET /v1/documents/${a}?return_vector_names=mood", Namespace: "films", Check: map[string]any{"mood.1": -1, "_vectors": Absent}},
		Step{Name: "names of vectors", Do: "GET /v1/documents/${a}?return_vector_names=true", Namespace: "films", Check: map[string]any{"_vectors.0": "mixpeek://text_extractor@v1/mood"}},
		Step{Name: "not of that collection", Do: "GET /v1/collections/again/documents/${a}", Namespace: "films", Status: 404},
		Step{Name: "expand", Do: "GET " + path + "/b-1?expand=parent,children,ancestors,root_object,sequel,friends,nothing", Namespace: "films",
			Check: map[string]any{"_expanded.parent": Absent, "_expanded.children.#": 0, "_expanded.sequel.title": "Alien", "_expanded.friends.#": 1, "_expanded.friends.0.year": 1979, "_expanded.nothing": Absent}},
		Step{Name: "patch", Do: "PATCH " + path + "/${a}", Namespace: "films", Events: documentWritten, Body: `{"year":1980,"genres":null,"rating":{"imdb":8.5}}`, Header: map[string]string{"If-Match": `"1"`},
			Check: map[string]any{"year": 1980, "genres": Absent, "title": "Alien", "rating.imdb": 8.5, "metadata.lang": "en"}},
		Step{Name: "stale", Do: "PATCH " + path + "/${a}", Namespace: "films", Body: `{"year":1}`, Header: map[string]string{"If-Match": `"1"`}, Status: 409, Check: map[string]any{"error.code": "version_mismatch"}},
		Step{Name: "changed for the next", Do: "GET /v1/documents/${a}?return_vectors=true", Namespace: "films", Check: map[string]any{"year": 1980, "_vectors.#": 1, "_internal.created_at": "${first}"}},
		Step{Name: "as it was", Do: "GET /v1/documents/${a}?as_of=6", Namespace: "films", Check: map[string]any{"year": 1979, "genres.#": 2}},
		Step{Name: "lineage stays", Do: "PATCH " + path + "/${a}", Namespace: "films", Body: `{"root_object_id":"obj_x"}`, Status: 422, Check: map[string]any{"error.code": "lineage_immutable"}},
		Step{Name: "replace", Do: "PUT /v1/documents/b-1", Namespace: "films", Events: documentWritten, Body: `{"document_id":"b-1","title":"Brazil","year":1986,"_internal":{"x":1}}`, Check: map[string]any{"year": 1986, "genres": Absent, "_internal.x": Absent}},
		Step{Name: "viewer writes nothing", Do: "PATCH /v1/documents/b-1", As: "viewer", Namespace: "films", Body: `{"year":1}`, Status: 403},
		Step{Name: "other organization", Do: "GET /v1/documents/b-1", As: "other", Namespace: "films", Status: 404},
		Step{Name: "count", Do: "GET " + path + "/count", Namespace: "films", Check: map[string]any{"collection_id": "${notes}", "count": 2}},
		Step{Name: "by ids", Do: "POST /v1/documents/batch-get", Namespace: "films", Body: `{"document_ids":["b-1","zz","${a}"]}`, Check: map[string]any{"documents.#": 2, "documents.0.document_id": "b-1", "not_found": []string{"zz"}}},
		Step{Name: "too many ids", Do: "POST /v1/documents/batch-get", Namespace: "films", Body: `{"document_ids":[]}`, Status: 422},
		Step{Name: "delete", Do: "DELETE " + path + "/b-1", Namespace: "films", Events: []string{"document.deleted"}, Check: map[string]any{"success": true}},
		Step{Name: "gone", Do: "GET " + path + "/b-1", Namespace: "films", Status: 404},
		Step{Name: "gone twice", Do: "DELETE " + path + "/b-1", Namespace: "films", Status: 404},
		Step{Name: "one left", Do: "GET " + path + "/count", Namespace: "films", Check: map[string]any{"count": 1}},
		Step{Name: "written again", Do: "POST " + path, Namespace: "films", Events: documentWritten, Body: `{"document_id":"b-1","title":"Brazil"}`},
		Step{Name: "written once", Do: "POST " + path, Namespace: "films", Events: documentWritten, Body: `{"title":"Once"}`, Header: map[string]string{"Idempotency-Key": "k1"}, Save: map[string]string{"once": "document_id"}},
		Step{Name: "not twice", Do: "POST " + path, Namespace: "films", Body: `{"title":"Once"}`, Header: map[string]string{"Idempotency-Key": "k1"}, Check: map[string]any{"document_id": "${once}"}},
	)
}

func TestDocumentListScenario(t *testing.T) {
	const path = "/v1/collections/notes/documents"
	steps := []Step{}
	for _, d := range []string{`{"document_id":"d1","title":"Alien","year":1979,"genre":"horror"}`, `{"document_id":"d2","title":"Brazil","year":1985,"genre":"satire"}`,
		`{"document_id":"d3","title":"Cube","year":1997,"genre":"horror","deep":{"a":[{"b":1},{"b":2}]}}`, `{"document_id":"d4","title":"Dune Alien","year":1984,"vectors":{"mood":[1,2]}}`} {
		steps = append(steps, Step{Do: "POST " + path, Namespace: "films", Events: documentWritten, Body: d})
	}
	steps = append(steps, Step{Do: "POST /v1/collections/again/documents", Namespace: "films", Events: documentWritten, Body: `{"document_id":"e1","title":"Eraserhead","year":1977}`},
		Step{Name: "all", Do: "GET " + path, Namespace: "films", Check: map[string]any{"results.#": 4, "results.0.document_id": "d1", "pagination.next_cursor": Absent, "pagination.total": Absent, "pagination.page_size": 10}},
		Step{Name: "query filters", Do: "GET " + path + "?filters=%7B%22year%22%3A1985%7D", Namespace: "films", Check: map[string]any{"results.#": 1, "results.0.title": "Brazil"}},
		Step{Name: "broken query filters", Do: "GET " + path + "?filters=%7B", Namespace: "films", Status: 422},
		Step{Name: "query sort", Do: "GET " + path + "?sort=year:desc", Namespace: "films", Check: map[string]any{"results.0.document_id": "d3", "results.3.document_id": "d1"}},
		Step{Name: "query sort as JSON", Do: "GET " + path + "?sort=%7B%22field%22%3A%22year%22%2C%22direction%22%3A%22asc%22%7D", Namespace: "films", Check: map[string]any{"results.1.document_id": "d4"}},
		Step{Name: "no such direction", Do: "GET " + path + "?sort=year:up", Namespace: "films", Status: 422},
		Step{Name: "search", Do: "GET " + path + "?search=ALIEN", Namespace: "films", Check: map[string]any{"results.#": 2}},
		Step{Name: "first page", Do: "POST " + path + "/list", Namespace: "films", Body: `{"limit":3,"sort":{"field":"year","direction":"desc"},"include_total":true,"offset":0}`, Save: map[string]string{"next": "pagination.next_cursor"},
			Check: map[string]any{"results.#": 3, "pagination.total": 4, "total_documents": 4}},
		Step{Name: "written between", Do: "POST " + path, Namespace: "films", Events: documentWritten, Body: `{"document_id":"d0","year":2000}`},
		Step{Name: "second page", Do: "POST " + path + "/list", Namespace: "films", Body: `{"limit":3,"sort":{"field":"year","direction":"desc"},"cursor":"${next}"}`, Check: map[string]any{"results.#": 1, "results.0.document_id": "d1", "pagination.next_cursor": Absent}},
		Step{Name: "cursor of another list", Do: "POST " + path + "/list", Namespace: "films", Body: `{"cursor":"${next}"}`, Status: 422},
		Step{Name: "conditions", Do: "POST " + path + "/list", Namespace: "films", Body: `{"filters":{"AND":[{"field":"year","operator":"gte","value":1984},{"field":"genre","operator":"exists","value":true}]}}`, Check: map[string]any{"results.#": 2}},
		Step{Name: "a lost condition is no filter", Do: "POST " + path + "/list", Namespace: "films", Body: `{"filters":{"AND":[null]}}`, Status: 422},
		Step{Name: "select", Do: "POST " + path + "/list", Namespace: "films", Body: `{"select":["title","deep.a.b"],"filters":{"document_id":"d3"}}`,
			Check: map[string]any{"results.0.#": 4, "results.0.title": "Cube", "results.0.deep": map[string]any{"a": map[string]any{"b": []int{1, 2}}}}},
		Step{Name: "vectors", Do: "POST " + path + "/list", Namespace: "films", Body: `{"return_vectors":true,"filters":{"document_id":"d4"}}`, Check: map[string]any{"results.0._vectors.#": 1}},
		Step{Name: "names of vectors", Do: "POST " + path + "/list", Namespace: "films", Body: `{"return_vector_names":["mood"],"filters":{"document_id":"d4"}}`, Check: map[string]any{"results.0.mood.#": 2}},
		Step{Name: "groups", Do: "POST " + path + "/list", Namespace: "films", Body: `{"group_by":"genre","limit":2}`, Save: map[string]string{"groups": "pagination.next_cursor"},
			Check: map[string]any{"results.#": 0, "groups.#": 2, "groups.0.group_key": "horror", "groups.0.count": 2, "groups.1.group_key": Absent, "group_by_field": "genre"}},
		Step{Name: "next groups", Do: "POST " + path + "/list", Namespace: "films", Body: `{"group_by":"genre","limit":2,"cursor":"${groups}"}`, Check: map[string]any{"groups.#": 1, "groups.0.group_key": "satire", "groups.0.documents.0.document_id": "d2"}},
		Step{Name: "partitions", Do: "POST " + path + "/list", Namespace: "films", Body: `{"partition":{"index":3,"count":2}}`, Status: 422},
		Step{Name: "too many at once", Do: "GET " + path + "?limit=1001", Namespace: "films", Status: 422},
		Step{Name: "distinct", Do: "POST " + path + "/distinct", Namespace: "films", Body: `{"field":"genre"}`, Check: map[string]any{"total_distinct": 2, "values": []any{map[string]any{"value": "horror", "count": 2}, map[string]any{"value": "satire", "count": 1}}}},
		Step{Name: "distinct among some", Do: "POST " + path + "/distinct", Namespace: "films", Body: `{"field":"genre","filters":{"year":1985},"limit":1}`, Check: map[string]any{"total_distinct": 1}},
		Step{Name: "of the namespace", Do: "POST /v1/documents/list", Namespace: "films", Check: map[string]any{"results.#": 6}},
		Step{Name: "of some collections", Do: "POST /v1/documents/list", Namespace: "films", Body: `{"collection_ids":["again","col_none"]}`, Check: map[string]any{"results.#": 1, "unknown_collection_ids": []string{"col_none"}}},
		Step{Name: "of unknown collections only", Do: "POST /v1/documents/list", Namespace: "films", Body: `{"collection_ids":["col_none"]}`, Check: map[string]any{"results.#": 0, "unknown_collection_ids.#": 1}},
		Step{Name: "several lists", Do: "POST /v1/documents/list/batch", Namespace: "films", Body: `{"queries":[{"key":"a","request":{"collection_ids":["again"]}},{"key":"b","request":{"filters":{"AND":[null]}}}]}`,
			Check: map[string]any{"results.0.response.results.#": 1, "results.1.key": "b", "results.1.error": Present, "results.1.response": Absent}},
		Step{Name: "search of the wrapper", Do: "POST /v1/documents/search", Namespace: "films", Body: `{"page_size":10,"collection_ids":["notes"],"query":"dune alien"}`, Check: map[string]any{"results.#": 1, "documents.0.document_id": "d4"}},
		Step{Name: "search for anything", Do: "POST /v1/documents/search", Namespace: "films", Body: `{"page_size":2}`, Check: map[string]any{"results.#": 2, "pagination.next_cursor": Present}},
	)
	notes(t).Play(t, steps...)
}

func TestDocumentBulkScenario(t *testing.T) {
	const path = "/v1/collections/notes/documents"
	once, again := map[string]string{"Idempotency-Key": "k1"}, map[string]string{"Idempotency-Key": "k2"}
	three := []string{"document.written", "document.written", "document.written"}
	steps := []Step{}
	for _, id := range []string{"d1", "d2", "d3"} {
		steps = append(steps, Step{Do: "POST " + path, Namespace: "films", Events: documentWritten, Body: `{"document_id":"` + id + `","n":1}`})
	}
	steps = append(steps,
		Step{Name: "each its own", Do: "POST " + path + "/batch", Namespace: "films", Events: three[:2], Body: `{"updates":[{"document_id":"d1","update_data":{"n":2}},{"document_id":"d2","update_data":{"n":3}},{"document_id":"zz","update_data":{"n":3}},{"document_id":"d1","update_data":{"m":4}}]}`,
			Check: map[string]any{"updated_count": 3, "failed_count": 1, "results.2.success": false, "results.2.error": Present, "results.3.success": true}},
		Step{Name: "both of one", Do: "GET /v1/documents/d1", Namespace: "films", Check: map[string]any{"n": 2, "m": 4}},
		Step{Name: "wrong update names its place", Do: "POST " + path + "/batch", Namespace: "films", Body: `{"updates":[{"document_id":"d1","update_data":{"metadata":3}}]}`, Status: 422, Check: map[string]any{"error.message": Match(`updates\[0\].update_data.metadata`)}},
		Step{Name: "nothing said", Do: "POST " + path + "/batch", Namespace: "films", Body: `{}`, Status: 422},
		Step{Name: "by filter", Do: "POST " + path + "/batch", Namespace: "films", Events: three[:1], Body: `{"filters":{"n":3},"update_data":{"n":7}}`, Check: map[string]any{"updated_count": 1}},
		Step{Name: "bulk", Do: "PATCH " + path + "/bulk", Namespace: "films", Events: three, Body: `{"update_data":{"seen":true}}`, Check: map[string]any{"updated_count": 3, "status": "COMPLETED"}},
		Step{Name: "bulk by filter", Do: "PATCH " + path + "/bulk", Namespace: "films", Events: three[:1], Body: `{"filters":{"field":"n","operator":"eq","value":7},"update_data":{"n":8}}`, Check: map[string]any{"updated_count": 1}},
		Step{Name: "bulk of nothing", Do: "PATCH " + path + "/bulk", Namespace: "films", Body: `{"filters":{"n":99},"update_data":{"n":8}}`, Check: map[string]any{"updated_count": 0}},
		Step{Name: "bulk without a change", Do: "PATCH " + path + "/bulk", Namespace: "films", Body: `{"filters":{"n":8}}`, Status: 422},
		Step{Name: "seen by the next", Do: "POST " + path + "/list", Namespace: "films", Body: `{"filters":{"seen":true,"n":8}}`, Check: map[string]any{"results.#": 1, "results.0.document_id": "d2"}},
		Step{Name: "delete everything is not a filter", Do: "DELETE " + path + "/batch", Namespace: "films", Body: `{"filters":{}}`, Status: 422},
		Step{Name: "delete by filter", Do: "DELETE " + path + "/batch", Namespace: "films", Events: []string{"document.deleted"}, Body: `{"filters":{"n":8},"reason":"old"}`, Check: map[string]any{"deleted_count": 1}},
		Step{Name: "delete by ids", Do: "DELETE " + path + "/batch", Namespace: "films", Events: []string{"document.deleted", "document.deleted"}, Body: `{"document_ids":["d1","d3","zz","d1"]}`,
			Check: map[string]any{"deleted_count": 2, "failed_count": 1, "results.#": 4, "results.2.success": false}},
		Step{Name: "written anew", Do: "POST " + path, Namespace: "films", Events: documentWritten, Body: `{"document_id":"d1","n":1}`},
		Step{Name: "once", Do: "PATCH " + path + "/bulk", Namespace: "films", Events: three[:1], Header: once, Body: `{"filters":{"n":1},"update_data":{"n":2}}`, Check: map[string]any{"updated_count": 1}},
		Step{Name: "not twice", Do: "PATCH " + path + "/bulk", Namespace: "films", Header: once, Body: `{"filters":{"n":1},"update_data":{"n":2}}`, Check: map[string]any{"updated_count": 1}},
		Step{Name: "another request under the key", Do: "PATCH " + path + "/bulk", Namespace: "films", Header: once, Body: `{"filters":{"n":2},"update_data":{"n":2}}`, Status: 409, Check: map[string]any{"error.code": "idempotency_key_reused"}},
		Step{Name: "all once", Do: "PATCH " + path + "/bulk", Namespace: "films", Events: three[:1], Header: again, Body: `{"update_data":{"s":1}}`, Check: map[string]any{"updated_count": 1}},
		Step{Name: "all not twice, though all match again", Do: "PATCH " + path + "/bulk", Namespace: "films", Header: again, Body: `{"update_data":{"s":1}}`, Check: map[string]any{"updated_count": 1}},
		Step{Name: "each once", Do: "POST " + path + "/batch", Namespace: "films", Events: three[:1], Header: again, Body: `{"updates":[{"document_id":"zz","update_data":{"n":5}},{"document_id":"d1","update_data":{"n":5}}]}`, Check: map[string]any{"updated_count": 1, "results.0.success": false}},
		Step{Name: "each not twice", Do: "POST " + path + "/batch", Namespace: "films", Header: again, Body: `{"updates":[{"document_id":"zz","update_data":{"n":5}},{"document_id":"d1","update_data":{"n":5}}]}`, Check: map[string]any{"updated_count": 1, "results.0.success": false, "results.1.success": true}},
		Step{Name: "deleted once", Do: "DELETE " + path + "/batch", Namespace: "films", Events: []string{"document.deleted"}, Header: once, Body: `{"document_ids":["zz","d1"]}`, Check: map[string]any{"deleted_count": 1, "failed_count": 1, "results.0.success": false}},
		Step{Name: "the same answer again", Do: "DELETE " + path + "/batch", Namespace: "films", Header: once, Body: `{"document_ids":["zz","d1"]}`, Check: map[string]any{"deleted_count": 1, "failed_count": 1, "results.0.success": false}},
		Step{Name: "reader deletes nothing", Do: "DELETE " + path + "/batch", As: "reader", Namespace: "films", Body: `{"document_ids":["d1"]}`, Status: 403},
		Step{Name: "none left", Do: "GET " + path + "/count", Namespace: "films", Check: map[string]any{"count": 0}},
	)
	notes(t).Play(t, steps...)
}

// TestDocumentScopes: a key for one collection sees that one, also where a path names none.
func TestDocumentScopes(t *testing.T) {
	st := notes(t)
	st.key(t, "one", func(c *commands.CreateKey) {
		c.Scopes = []domain.ResourceScope{{ResourceType: "collection", ResourceID: st.Vars["again"]}}
	})
	st.key(t, "films", func(c *commands.CreateKey) {
		c.Scopes = []domain.ResourceScope{{ResourceType: "namespace", ResourceID: st.Vars["ns"]}}
	})
	st.Play(t,
		Step{Do: "POST /v1/collections/notes/documents", Namespace: "films", Events: documentWritten, Body: `{"document_id":"hidden","root_object_id":"obj_1"}`},
		Step{Do: "POST /v1/collections/again/documents", As: "one", Namespace: "films", Events: documentWritten, Body: `{"document_id":"open","root_object_id":"obj_1","source_document_id":"hidden"}`},
		Step{Do: "POST /v1/documents/list", As: "one", Namespace: "films", Check: map[string]any{"results.#": 1, "results.0.document_id": "open"}},
		Step{Do: "POST /v1/documents/list", As: "one", Namespace: "films", Body: `{"collection_ids":["notes"]}`, Check: map[string]any{"results.#": 0, "unknown_collection_ids.#": 1}},
		Step{Do: "POST /v1/documents/list", As: "films", Namespace: "films", Check: map[string]any{"results.#": 2}},
		Step{Do: "POST /v1/documents/batch-get", As: "one", Namespace: "films", Body: `{"document_ids":["hidden","open"]}`, Check: map[string]any{"documents.#": 1, "not_found": []string{"hidden"}}},
		Step{Do: "GET /v1/documents/hidden", As: "one", Namespace: "films", Status: 404},
		Step{Do: "PATCH /v1/documents/hidden", As: "one", Namespace: "films", Body: `{"a":1}`, Status: 404},
		Step{Do: "GET /v1/collections/notes/documents/hidden", As: "one", Namespace: "films", Status: 403},
		Step{Do: "GET /v1/documents/open?expand=parent", As: "one", Namespace: "films", Check: map[string]any{"_expanded.parent": Absent}},
		Step{Do: "GET /v1/collections/again/documents/open/ancestors", As: "one", Namespace: "films", Check: map[string]any{"#": 0}},
		Step{Do: "GET /v1/documents/open/lineage", As: "one", Namespace: "films", Check: map[string]any{"tree.total_documents": 1}},
		Step{Do: "GET /v1/objects/obj_1/documents", As: "one", Namespace: "films", Check: map[string]any{"total_documents": 1}},
		Step{Do: "GET /v1/objects/obj_1/documents", As: "films", Namespace: "films", Check: map[string]any{"total_documents": 2}},
	)
}

// TestDocumentShapes holds the two projections of a document to each other:
// what a filter sees is what the wire shows, but for the namespace.
func TestDocumentShapes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMicro(rapid.Int64Range(0, 1<<50).Draw(t, "time")).UTC()
		row := projections.DocumentRow{Created: at, Updated: at.Add(time.Second), Position: 7, Version: 2}
		row.Document = domain.Document{DocumentID: "doc_1", CollectionID: "col_b", ConfigVersion: 3, Extractor: rapid.SampledFrom([]string{"", "text_extractor@v1"}).Draw(t, "extractor"),
			BatchID: rapid.SampledFrom([]string{"", "btch_1"}).Draw(t, "batch"), ContentHash: rapid.SampledFrom([]string{"", "h"}).Draw(t, "hash"),
			Lineage: domain.Lineage{SourceType: "collection", RootObjectID: "obj_1", Path: "bkt_1/col_a/col_b", Chain: []string{"doc_0"}}}
		row.Payload = map[string]json.RawMessage{}
		for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "_internal", "document_id", "searchable_at", "metadata"}), rapid.ID).Draw(t, "fields") {
			row.Payload[name] = json.RawMessage(rapid.SampledFrom([]string{"1.50", `"x"`, "null", `{"a":[1e3,true]}`}).Draw(t, "value"))
		}
		if rapid.Bool().Draw(t, "metadata") {
			row.Metadata = json.RawMessage(`{"k":1.0}`)
		}
		wire := documentOut(row, "ns_1")
		if wire["_internal"].(map[string]any)["namespace_id"] != "ns_1" || wire["document_id"] != "doc_1" {
			t.Fatalf("the platform's members are not its own: %v", wire)
		}
		delete(wire["_internal"].(map[string]any), "namespace_id")
		raw, err := json.Marshal(wire)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := domain.DecodeValue(raw)
		if err != nil {
			t.Fatal(err)
		}
		fields := DocumentFields(row)
		if !reflect.DeepEqual(decoded, any(fields)) {
			t.Fatalf("wire %s\nfields %s", domain.EncodeValue(decoded), domain.EncodeValue(fields))
		}
		if bytes.Contains(raw, []byte("ns_1")) {
			t.Fatalf("the namespace is in %s", raw)
		}
	})
}
