package http_test

import (
	"testing"

	. "varve/http/scenario"
)

func TestLogScenario(t *testing.T) {
	t.Parallel()
	s := tiers(t)
	s.films(t,
		Step{Name: "the namespace's", Do: "GET /v1/log", Check: map[string]any{"records.#": 4, "records.0.type": "namespace.configured", "records.3.type": "collection.saved", "records.3.position": 4, "records.1.data.bucket_id": "${bucket}", "records.1.hash": Match("^[0-9a-f]{64}$"), "records.1.metadata": Present, "next": 4}},
		Step{Name: "a page", Do: "GET /v1/log?limit=2", Check: map[string]any{"records.#": 2, "next": 2}},
		Step{Name: "the next", Do: "GET /v1/log?after=2&limit=2", Check: map[string]any{"records.#": 2, "records.0.position": 3, "next": 4}},
		Step{Name: "behind the end", Do: "GET /v1/log?after=99", Check: map[string]any{"records.#": 0, "next": 99}},
		Step{Name: "why", Do: "POST /v1/buckets", Events: bucketSaved, Header: map[string]string{"X-Change-Reason": "a second one"}, Body: `{"bucket_name":"more","bucket_schema":{"properties":{}}}`},
		Step{Name: "is in the record", Do: "GET /v1/log?after=4", Check: map[string]any{"records.0.metadata.reason": "a second one", "records.0.metadata.origin": "http", "records.0.metadata.actor": Match("^usr_")}},
		refused("a position that is none", "GET /v1/log?after=x", "", 422, "integer"),
		refused("a limit too large", "GET /v1/log?limit=1001", "", 422, "1000"),
		refused("a wait too long", "GET /v1/log?wait=61", "", 422, "60"),
	)
	done := make(chan bool)
	go func() {
		defer close(done)
		(&served{Stack: &Stack{Handler: s.Handler, Keys: s.Keys, Vars: map[string]string{}}}).films(t, Step{Name: "wait", Do: "GET /v1/log?after=5&wait=30", Check: map[string]any{"records.#": 1, "records.0.type": "bucket.deleted"}})
	}()
	s.films(t, Step{Name: "what is waited for", Do: "DELETE /v1/buckets/more", Events: []string{"bucket.deleted"}})
	<-done
	s.Play(t,
		Step{Name: "the organization's", Do: "GET /v1/log", Check: map[string]any{"records.0.type": "organization.created"}},
		Step{Name: "another's namespace", As: "other", Do: "GET /v1/log?namespace=${ns}", Status: 404},
		Step{Name: "verify", Do: "POST /v1/log/verify", Check: map[string]any{"ok": true, "logs.#": 2, "logs.0.log": "organization", "logs.1.log": "films", "logs.1.records": 6, "logs.1.last_position": 6}},
		Step{Name: "models", Do: "GET /v1/models", Check: map[string]any{"models.#": Match("^[0-9]{2}$"), "models.0.parked": 0}},
		Step{Name: "rebuild", Do: "POST /v1/models/documents/rebuild", Outside: true},
		refused("a model that is none", "POST /v1/models/dreams/rebuild", "", 404, "dreams"),
		Step{Name: "a bucket is still there", Do: "GET /v1/buckets/reviews", Namespace: "films", Check: map[string]any{"bucket_id": "${bucket}"}},
		Step{Name: "nobody", As: "nobody", Do: "GET /v1/log", Status: 401},
	)
}
