package http_test

import (
	"encoding/base64"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/cmd/varve/serve"
	. "varve/http/scenario"
)

var (
	objectSaved   = []string{"object.saved"}
	objectDeleted = []string{"object.deleted"}
)

// reviews makes a bucket of reviews.
func reviews(t *testing.T, change ...func(*serve.Config)) *served {
	t.Helper()
	s := films(t, change...)
	s.films(t, Step{Do: "POST /v1/buckets", Events: bucketSaved, Save: map[string]string{"bucket": "bucket_id"},
		Body: `{"bucket_name":"reviews","bucket_schema":{"properties":{"text":{"type":"text"},"title":{"type":"string"},"year":{"type":"integer"},"lang":{"type":"string","enum":["en","de"]},"poster":{"type":"image"},"facts":{"type":"object"}}}}`})
	return s
}

func TestObjectScenario(t *testing.T) {
	t.Parallel()
	const path = "/v1/buckets/reviews/objects"
	s := reviews(t)
	s.films(t,
		Step{Name: "create", Do: "POST " + path, Events: objectSaved, Save: map[string]string{"a": "object_id", "created": "created_at"},
			Body: `{"title":"Alien","year":1979,"price":12.50,"key_prefix":"/x","metadata":{"by":"me"},"blobs":[{"property":"text","type":"text","data":"In space no one can hear you scream."},{"property":"facts","type":"object","data":{"crew":7}}]}`,
			Check: map[string]any{"object_id": Match("^obj_[0-9a-f]+$"), "bucket_id": "${bucket}", "title": "Alien", "year": 1979, "price": 12.5, "status": "PENDING", "key_prefix": "/x", "metadata.by": "me",
				"blobs.#": 2, "blobs.0.property": "text", "blobs.0.properties.data": "In space no one can hear you scream.", "blobs.0.details.size_bytes": 36, "blobs.1.properties.data.crew": 7, "consistency": Present}},
		Step{Name: "get", Do: "GET " + path + "/${a}", Check: map[string]any{"title": "Alien", "document_count": 0, "status": "PENDING", "created_at": "${created}"}},
		Step{Name: "second", Do: "POST " + path, Events: objectSaved, Body: `{"title":"Brazil","year":1985,"lang":"en"}`, Save: map[string]string{"b": "object_id"}},
		Step{Name: "list", Do: "GET " + path, Check: map[string]any{"results.#": 2, "results.0.document_count": Absent}},
		Step{Name: "list, filtered", Do: "POST " + path + "/list", Body: `{"filters":{"field":"year","operator":"gt","value":1980},"include_total":true}`, Check: map[string]any{"results.#": 1, "results.0.object_id": "${b}", "pagination.total": 1}},
		Step{Name: "list, by a query", Do: "GET " + path + "?filters=%7B%22year%22%3A1979%7D", Check: map[string]any{"results.#": 1, "results.0.object_id": "${a}"}},
		Step{Name: "list, sorted", Do: "POST " + path + "/list", Body: `{"sort":{"field":"year","direction":"desc"}}`, Check: map[string]any{"results.0.object_id": "${b}", "results.1.object_id": "${a}"}},
		Step{Name: "list, searched", Do: "POST " + path + "/list", Body: `{"search":"brazil"}`, Check: map[string]any{"results.#": 1, "results.0.object_id": "${b}"}},
		Step{Name: "patch", Do: "PATCH " + path + "/${a}", Events: objectSaved, Body: `{"year":1980,"price":null,"blobs":[{"property":"text","type":"text","data":"one"},{"property":"text","type":"text","data":"two"}]}`,
			Check: map[string]any{"year": 1980, "price": Absent, "title": "Alien", "blobs.#": 3, "blobs.1.properties.data": "one", "blobs.2.properties.data": "two", "created_at": "${created}"}},
		Step{Name: "the next sees it", Do: "GET " + path + "/${a}", Check: map[string]any{"year": 1980, "blobs.#": 3}},
		Step{Name: "put keeps what is left out", Do: "PUT " + path + "/${a}", Events: objectSaved, Body: `{"title":"Aliens"}`, Check: map[string]any{"title": "Aliens", "year": 1980, "blobs.#": 3}},
		Step{Name: "as it was", Do: "GET " + path + "/${a}?as_of=3", Check: map[string]any{"title": "Alien", "year": 1979, "price": 12.5, "blobs.#": 2}},
		Step{Name: "as of its time", Do: "GET " + path + "/${a}?as_of=${created}", Check: map[string]any{"title": "Alien"}},
		Step{Name: "list as it was", Do: "POST " + path + "/list?as_of=3", Check: map[string]any{"results.#": 1, "results.0.year": 1979}},
		Step{Name: "bucket as it was", Do: "GET /v1/buckets/reviews?as_of=3", Check: map[string]any{"object_count": 1}},
		Step{Name: "bucket", Do: "GET /v1/buckets/reviews", Check: map[string]any{"object_count": 2, "total_size_bytes": Present, "last_upload_at": Present}},
		Step{Name: "many", Do: "POST " + path + "/batch", Events: []string{"object.saved", "object.saved"}, Save: map[string]string{"c": "succeeded.0.object_id", "d": "succeeded.1.object_id"},
			Body:  `{"objects":[{"title":"Cube"},{"title":7},{"title":"Dune","blobs":[{"property":"text","type":"text","data":"sand"}]},{"title":"E","blobs":[{"property":"nothing","type":"text","data":"x"}]},3]}`,
			Check: map[string]any{"total_requested": 5, "succeeded_count": 2, "failed_count": 3, "succeeded.1.object_index": 2, "succeeded.1.replayed": false, "failed.0.object_index": 1, "failed.0.error": Match("title"), "failed.1.error": Match("blobs\\[0\\].property.*nothing"), "failed.2.error": Match("objects\\[4\\]"), "failed.2.error_type": "ValidationError"}},
		Step{Name: "delete many", Do: "POST " + path + "/bulk-soft-delete", Events: []string{"object.deleted", "object.deleted"}, Body: `{"object_ids":["${c}","${d}","obj_none","${c}"],"reason":"old"}`, Check: map[string]any{"soft_deleted": 2, "requested": 4}},
		Step{Name: "deleted many", Do: "GET " + path + "/${c}", Status: 404},
		Step{Name: "delete", Do: "DELETE " + path + "/${b}", Events: objectDeleted},
		Step{Name: "deleted", Do: "GET " + path + "/${b}", Status: 404},
		Step{Name: "deleted twice", Do: "DELETE " + path + "/${b}", Status: 404},
		Step{Name: "still there as of then", Do: "GET " + path + "/${b}?as_of=4", Check: map[string]any{"title": "Brazil"}},
		Step{Name: "another organization", As: "other", Do: "GET " + path + "/${a}", Status: 404},
		Step{Name: "delete the bucket", Do: "DELETE /v1/buckets/reviews", Events: []string{"bucket.deleted"}},
		Step{Name: "its objects are gone", Do: "GET " + path + "/${a}", Status: 404},
		Step{Name: "a bucket of the same name", Do: "POST /v1/buckets", Events: bucketSaved, Body: `{"bucket_name":"reviews","bucket_schema":{"properties":{}}}`},
		Step{Name: "does not bring them back", Do: "GET " + path + "/${a}", Status: 404},
		Step{Name: "as of then, they are there", Do: "GET " + path + "/${a}?as_of=3", Check: map[string]any{"title": "Alien"}},
	)
}

// TestObjectCursor: pages of a list stay where they are while objects come and go.
func TestObjectCursor(t *testing.T) {
	t.Parallel()
	const path = "/v1/buckets/reviews/objects"
	s := reviews(t)
	var body []string
	for _, title := range []string{"a", "b", "c", "d", "e"} {
		body = append(body, `{"title":"`+title+`","idempotency_key":"`+title+`"}`)
	}
	s.films(t,
		Step{Name: "five", Do: "POST " + path + "/batch", Body: `{"objects":[` + strings.Join(body, ",") + `]}`, AnyEvents: true, Save: map[string]string{"a": "succeeded.0.object_id", "d": "succeeded.3.object_id", "e": "succeeded.4.object_id"}},
		Step{Name: "first page", Do: "POST " + path + "/list", Body: `{"limit":2,"sort":{"field":"title","direction":"asc"}}`, Check: map[string]any{"results.0.title": "a", "results.1.title": "b"}, Save: map[string]string{"next": "pagination.next_cursor"}},
		Step{Name: "one comes before", Do: "POST " + path, Body: `{"title":"aa"}`, Events: objectSaved},
		Step{Name: "one changes", Do: "PATCH " + path + "/${e}", Body: `{"title":"ab"}`, Events: objectSaved},
		Step{Name: "one goes", Do: "DELETE " + path + "/${d}", Events: objectDeleted},
		Step{Name: "second page as it was", Do: "POST " + path + "/list", Body: `{"limit":2,"sort":{"field":"title","direction":"asc"},"cursor":"${next}"}`, Check: map[string]any{"results.0.title": "c", "results.1.title": "d"}, Save: map[string]string{"next": "pagination.next_cursor"}},
		Step{Name: "last page as it was", Do: "POST " + path + "/list", Body: `{"limit":2,"sort":{"field":"title","direction":"asc"},"cursor":"${next}"}`, Check: map[string]any{"results.#": 1, "results.0.title": "e", "pagination.next_cursor": Absent}},
		refused("a cursor of another query", "POST "+path+"/list", `{"limit":2,"cursor":"${next}"}`, 422, "cursor"),
		refused("a cursor that is none", "POST "+path+"/list", `{"cursor":"nonsense"}`, 422, "cursor"),
	)
}

func TestObjectKeys(t *testing.T) {
	t.Parallel()
	const path = "/v1/buckets/keyed/objects"
	s := reviews(t)
	key := map[string]string{"Idempotency-Key": "k1"}
	many := map[string]string{"Idempotency-Key": "k2"}
	two := `{"objects":[{"title":"A"},{"title":7},{"title":"B","idempotency_key":"b-1"}]}`
	s.films(t,
		Step{Name: "under a key", Do: "POST /v1/buckets/reviews/objects", Header: key, Body: `{"title":"A"}`, Events: objectSaved, Save: map[string]string{"a": "object_id", "created": "created_at"}},
		Step{Name: "changed meanwhile", Do: "PATCH /v1/buckets/reviews/objects/${a}", Body: `{"title":"A2"}`, Events: objectSaved},
		Step{Name: "repeated: the first answer", Do: "POST /v1/buckets/reviews/objects", Header: key, Body: `{"title":"A"}`, Check: map[string]any{"object_id": "${a}", "title": "A", "created_at": "${created}"}},
		Step{Name: "another body", Do: "POST /v1/buckets/reviews/objects", Header: key, Body: `{"title":"B"}`, Status: 409, Check: map[string]any{"error.code": "idempotency_key_reused"}},
		Step{Name: "deleted meanwhile", Do: "DELETE /v1/buckets/reviews/objects/${a}", Events: objectDeleted},
		Step{Name: "repeated once more", Do: "POST /v1/buckets/reviews/objects", Header: key, Body: `{"title":"A"}`, Check: map[string]any{"object_id": "${a}", "title": "A"}},
		Step{Name: "many under a key", Do: "POST /v1/buckets/reviews/objects/batch", Header: many, Body: two, Events: []string{"object.saved", "object.saved"}, Check: map[string]any{"succeeded_count": 2, "failed.0.object_index": 1}, Save: map[string]string{"m": "succeeded.0.object_id", "n": "succeeded.1.object_id"}},
		Step{Name: "many repeated", Do: "POST /v1/buckets/reviews/objects/batch", Header: many, Body: two, Check: map[string]any{"succeeded_count": 2, "succeeded.0.object_id": "${m}", "succeeded.1.object_id": "${n}", "failed_count": 1, "failed.0.error": Match("title")}},
		Step{Name: "the object's own key", Do: "POST /v1/buckets/reviews/objects", Body: `{"title":"C","idempotency_key":"c-1"}`, Events: objectSaved, Save: map[string]string{"c": "object_id"}},
		Step{Name: "gives the object back", Do: "POST /v1/buckets/reviews/objects", Body: `{"title":"other","idempotency_key":"c-1"}`, Check: map[string]any{"object_id": "${c}", "title": "C"}},
		Step{Name: "also among many", Do: "POST /v1/buckets/reviews/objects/batch", Body: `{"objects":[{"idempotency_key":"c-1"},{"idempotency_key":"b-1"}]}`, Check: map[string]any{"succeeded.0.object_id": "${c}", "succeeded.0.replayed": true, "succeeded.0.replayed_by": "idempotency_key", "succeeded.1.object_id": "${n}"}},
		wrong("a long key", "POST /v1/buckets/reviews/objects", `{"idempotency_key":"`+strings.Repeat("x", 256)+`"}`, "idempotency_key"),

		Step{Name: "a bucket with a unique key", Do: "POST /v1/buckets", Events: bucketSaved, Body: `{"bucket_name":"keyed","bucket_schema":{"properties":{"sku":{"type":"string"},"n":{"type":"integer"},"v":{"type":"integer"}}},"unique_key":{"fields":["sku","n"]}}`},
		Step{Name: "insert", Do: "POST " + path, Body: `{"sku":"x","n":1,"v":1}`, Events: objectSaved, Save: map[string]string{"x": "object_id"}},
		Step{Name: "insert again", Do: "POST " + path, Body: `{"sku":"x","n":1,"v":2}`, Status: 409, Check: map[string]any{"error.code": "unique_key_taken"}},
		Step{Name: "the same number in another spelling", Do: "POST " + path, Body: `{"sku":"x","n":1.0,"v":2}`, Status: 409},
		Step{Name: "another key", Do: "POST " + path, Body: `{"sku":"x","n":2}`, Events: objectSaved},
		Step{Name: "update", Do: "POST " + path + "?policy=update", Body: `{"sku":"x","n":1,"v":3}`, Events: objectSaved, Check: map[string]any{"object_id": "${x}", "v": 3}},
		refused("update of nothing", "POST "+path+"?policy=update", `{"sku":"y","n":1}`, 404, "unique key"),
		Step{Name: "upsert of what is there", Do: "POST " + path + "?policy=upsert", Body: `{"sku":"x","n":1,"v":4}`, Events: objectSaved, Check: map[string]any{"object_id": "${x}"}},
		Step{Name: "upsert of what is not", Do: "POST " + path + "?policy=upsert", Body: `{"sku":"y","n":1}`, Events: objectSaved},
		Step{Name: "skipped", Do: "POST " + path, Body: `{"sku":"x","n":1,"v":5,"skip_duplicates":true}`, Check: map[string]any{"object_id": "${x}", "v": 4}},
		Step{Name: "the next sees the last", Do: "GET " + path + "/${x}", Check: map[string]any{"v": 4}},
		Step{Name: "twice in one request", Do: "POST " + path + "/batch", Body: `{"objects":[{"sku":"z","n":1},{"sku":"z","n":1}]}`, Events: objectSaved, Check: map[string]any{"succeeded_count": 1, "failed.0.object_index": 1, "failed.0.error_type": "AlreadyExistsError"}},
		wrong("the key is missing", "POST "+path, `{"sku":"x"}`, "n"),
		Step{Name: "a policy that is none", Do: "POST " + path + "?policy=replace", Body: `{"sku":"x","n":1}`, Status: 422, Check: map[string]any{"error.details.validation_errors.0.location": []string{"query", "policy"}}},
		wrong("the key of an object stays", "PATCH "+path+"/${x}", `{"sku":"other"}`, "sku"),
		wrong("and is not taken away", "PATCH "+path+"/${x}", `{"n":null}`, "n"),
		Step{Name: "what is not the key changes", Do: "PUT " + path + "/${x}", Body: `{"sku":"x","n":1,"v":6}`, Events: objectSaved, Check: map[string]any{"v": 6}},
		wrong("the bucket's key stays", "PATCH /v1/buckets/keyed", `{"unique_key":{"fields":["sku"]}}`, "unique_key", "fields"),
		Step{Name: "its policy changes", Do: "PATCH /v1/buckets/keyed", Body: `{"unique_key":{"fields":["sku","n"],"default_policy":"upsert"}}`, Events: bucketSaved},
		Step{Name: "and holds for the next", Do: "POST " + path, Body: `{"sku":"x","n":1,"v":7}`, Events: objectSaved, Check: map[string]any{"object_id": "${x}", "v": 7}},
		Step{Name: "deleted", Do: "DELETE " + path + "/${x}", Events: objectDeleted},
		Step{Name: "inserted anew", Do: "POST " + path + "?policy=insert", Body: `{"sku":"x","n":1,"v":8}`, Events: objectSaved, Check: map[string]any{"object_id": "${x}", "v": 8}},
	)
}

func TestObjectBadInput(t *testing.T) {
	t.Parallel()
	const do = "POST /v1/buckets/reviews/objects"
	s := reviews(t)
	blob := func(b string) string { return `{"blobs":[` + b + `]}` }
	s.films(t,
		wrong("a wrong type", do, `{"year":"1979"}`, "year"),
		wrong("a fraction", do, `{"year":1979.5}`, "year"),
		wrong("not one of those allowed", do, `{"lang":"fr"}`, "lang"),
		wrong("blobs that are an object", do, `{"blobs":{}}`, "blobs"),
		wrong("a blob that is text", do, blob(`"x"`), "blobs", 0),
		wrong("no property", do, blob(`{"type":"text","data":"x"}`), "blobs", 0, "property"),
		wrong("no type", do, blob(`{"property":"text","data":"x"}`), "blobs", 0, "type"),
		wrong("a type that is none", do, blob(`{"property":"text","type":"words","data":"x"}`), "blobs", 0, "type"),
		wrong("no data", do, blob(`{"property":"text","type":"text"}`), "blobs", 0, "data"),
		wrong("a property that is not there", do, blob(`{"property":"nothing","type":"text","data":"x"}`), "blobs", 0, "property"),
		wrong("not base64", do, blob(`{"property":"poster","type":"image","data":"?!"}`), "blobs", 0, "data"),
		wrong("an upload", do, blob(`{"property":"poster","type":"image","upload_id":"u"}`), "blobs", 0, "upload_id"),
		wrong("a checksum that does not fit", do, blob(`{"property":"text","type":"text","data":"x","checksum":"00"}`), "blobs", 0, "checksum"),
		wrong("a private address", do, blob(`{"property":"text","type":"text","data":"http://127.0.0.1:1/x"}`), "blobs", 0, "data"),
		wrong("a link-local address", do, blob(`{"property":"poster","type":"image","data":"http://169.254.169.254/latest/meta-data"}`), "blobs", 0, "data"),
		wrong("a file", do, blob(`{"property":"text","type":"text","data":"file:///etc/passwd"}`), "blobs", 0, "data"),
		wrong("a URL that cannot be read", do, blob(`{"property":"text","type":"text","url":"http://%zz"}`), "blobs", 0, "url"),
		refused("the second of two blobs", do, blob(`{"property":"text","type":"text","data":"fine"},{"property":"poster","type":"image","data":"http://10.0.0.1/x"}`), 422, "blobs\\[1\\].data.*10.0.0.1"),
		refused("NaN", do, `{"year":NaN}`, 400, "not JSON"),
		refused("a lone surrogate is text, and stays", do, `{"title":"\ud800"`, 400, "not JSON"),
		refused("invalid UTF-8", do, "{\"title\":\"\xc3\x28\"}", 400, "UTF-8"),
		refused("too deep", do, `{"facts":`+strings.Repeat(`[`, 70)+strings.Repeat(`]`, 70)+`}`, 400, "deeper than 64"),
		refused("too large", do, `{"title":"`+strings.Repeat("x", 1<<20)+`"}`, 413, "1048576"),
		refused("a list", do, `[]`, 422, "object"),
		refused("no such bucket", "POST /v1/buckets/none/objects", `{}`, 404, "none"),
		refused("no such object", "PATCH /v1/buckets/reviews/objects/obj_none", `{"year":1}`, 404, "obj_none"),
		wrong("no objects", "POST /v1/buckets/reviews/objects/batch", `{"objects":null}`, "objects"),
		wrong("too many objects", "POST /v1/buckets/reviews/objects/batch", `{"objects":[`+strings.Repeat("{},", 100)+`{}]}`, "objects"),
		wrong("no reason", "POST /v1/buckets/reviews/objects/bulk-soft-delete", `{"object_ids":["x"]}`, "reason"),
		wrong("no ids", "POST /v1/buckets/reviews/objects/bulk-soft-delete", `{"object_ids":[],"reason":"x"}`, "object_ids"),
		wrong("an empty filter", "POST /v1/buckets/reviews/objects/list", `{"filters":{"AND":[]}}`, "filters", "AND"),
		refused("a filter that is not JSON", "GET /v1/buckets/reviews/objects?filters=x", "", 422, "JSON"),
		refused("a limit too large", "GET /v1/buckets/reviews/objects?limit=1001", "", 422, "1000"),
		Step{Name: "nothing is there", Do: "GET /v1/buckets/reviews/objects", Check: map[string]any{"results.#": 0}},
	)
}

// TestBlobsAreFetched: bytes from elsewhere come in before the object is written, or it is not written.
func TestBlobsAreFetched(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "note.txt"), []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	elsewhere := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		switch r.URL.Path {
		case "/poster.png":
			w.Header().Set("Content-Type", "image/png")
			_, _ = w.Write([]byte("\x89PNG\r\n\x1a\n0123"))
		case "/facts.json":
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"crew":7}`))
		default:
			nethttp.NotFound(w, r)
		}
	}))
	t.Cleanup(elsewhere.Close)
	const do = "POST /v1/buckets/reviews/objects"
	s := reviews(t, func(c *serve.Config) { c.AllowPrivate, c.Files = true, root })
	s.Vars["at"] = elsewhere.URL
	s.films(t,
		Step{Name: "by URL", Do: do, Events: objectSaved, Body: `{"blobs":[{"property":"poster","type":"image","data":"${at}/poster.png?token=secret"},{"property":"facts","type":"object","url":"${at}/facts.json"}]}`,
			Check: map[string]any{"blobs.0.details.mime_type": "image/png", "blobs.0.details.size_bytes": 12, "blobs.0.details.hash": Match("^sha256:[0-9a-f]{64}$"), "blobs.0.details.filename": "${at}/poster.png", "blobs.1.properties.data.crew": 7}, Save: map[string]string{"hash": "blobs.0.details.hash"}},
		Step{Name: "the same bytes in base64", Do: do, Events: objectSaved, Body: `{"blobs":[{"property":"poster","type":"image","data":"` + base64.StdEncoding.EncodeToString([]byte("\x89PNG\r\n\x1a\n0123")) + `"}]}`, Check: map[string]any{"blobs.0.details.hash": "${hash}"}},
		Step{Name: "a data URI", Do: do, Events: objectSaved, Body: `{"blobs":[{"property":"text","type":"text","data":"data:text/plain;base64,aGVsbG8="}]}`, Check: map[string]any{"blobs.0.properties.data": "hello"}},
		Step{Name: "a file", Do: do, Events: objectSaved, Body: `{"blobs":[{"property":"text","type":"text","data":"file://` + filepath.Join(root, "note.txt") + `"}]}`, Check: map[string]any{"blobs.0.properties.data": "from a file"}},
		Step{Name: "a long text", Do: do, Events: objectSaved, Body: `{"blobs":[{"property":"text","type":"text","data":"` + strings.Repeat("word ", 20000) + `"}]}`, Check: map[string]any{"blobs.0.properties.data": Absent, "blobs.0.details.size_bytes": 100000, "blobs.0.details.hash": Present}},
		refused("not there", do, `{"blobs":[{"property":"poster","type":"image","data":"${at}/none"}]}`, 422, "blobs\\[0\\].data.*404"),
		refused("nobody answers", do, `{"blobs":[{"property":"poster","type":"image","data":"http://127.0.0.1:1/"}]}`, 422, "blobs\\[0\\].data"),
		refused("a file outside", do, `{"blobs":[{"property":"text","type":"text","data":"file:///etc/passwd"}]}`, 422, "blobs\\[0\\].data"),
		Step{Name: "under a key", Do: do, Header: map[string]string{"Idempotency-Key": "k"}, Events: objectSaved, Body: `{"blobs":[{"property":"poster","type":"image","data":"${at}/poster.png"}]}`, Save: map[string]string{"o": "object_id", "b": "blobs.0.blob_id"}},
		Step{Name: "many under a key, one not there", Do: do + "/batch", Header: map[string]string{"Idempotency-Key": "k"}, Events: objectSaved, Body: `{"objects":[{"blobs":[{"property":"poster","type":"image","data":"${at}/none"}]},{"blobs":[{"property":"poster","type":"image","data":"${at}/poster.png"}]}]}`, Save: map[string]string{"m": "succeeded.0.object_id"}, Check: map[string]any{"succeeded.0.object_index": 1, "failed.0.object_index": 0}},
		refused("a scheme that is none", do, `{"blobs":[{"property":"text","type":"text","url":"ftp://example.com/x"}]}`, 422, "blobs\\[0\\].url.*ftp"),
	)
	elsewhere.Close()
	s.films(t,
		Step{Name: "repeated when nobody answers", Do: do, Header: map[string]string{"Idempotency-Key": "k"}, Body: `{"blobs":[{"property":"poster","type":"image","data":"${at}/poster.png"}]}`, Check: map[string]any{"object_id": "${o}", "blobs.0.blob_id": "${b}", "blobs.0.details.hash": "${hash}"}},
		Step{Name: "many repeated when nobody answers", Do: do + "/batch", Header: map[string]string{"Idempotency-Key": "k"}, Body: `{"objects":[{"blobs":[{"property":"poster","type":"image","data":"${at}/none"}]},{"blobs":[{"property":"poster","type":"image","data":"${at}/poster.png"}]}]}`, Check: map[string]any{"succeeded.0.object_index": 1, "succeeded.0.object_id": "${m}", "failed.0.object_index": 0}},
	)
}
