package http

import (
	"testing"
	"time"

	. "varve/http/scenario"
)

func TestOrganizationScenario(t *testing.T) {
	newStack(t).Play(t,
		Step{Name: "who am I", Do: "GET /v1/me", As: "reader", Check: map[string]any{"organization_id": "${org}", "user_email": "reader@example.com", "key.permissions": []string{"read"}, "rate_limits.search": 6000, "principal_scoped": false}},
		Step{Name: "organization", Do: "GET /v1/organizations", Check: map[string]any{"organization_name": "admin", "users.#": 4, "rate_limits.#": 5}},
		Step{Name: "change", Do: "PATCH /v1/organizations", Body: `{"organization_name":"Acme","metadata":{"a":1},"rate_limit_overrides":{"search":500}}`,
			Events: []string{"organization.updated"}, Check: map[string]any{"organization_name": "Acme", "metadata.a": 1, "rate_limits.search": 500, "rate_limits.data": 6000}},
		Step{Name: "merged", Do: "PATCH /v1/organizations", Body: `{"rate_limit_overrides":{"data":700}}`, Events: []string{"organization.updated"},
			Check: map[string]any{"organization_name": "Acme", "rate_limits.search": 500, "rate_limits.data": 700}},
		Step{Name: "member may not", Do: "PATCH /v1/organizations", As: "member", Body: `{"organization_name":"Mine"}`, Status: 403, Check: map[string]any{"error.code": "permission_missing"}},
		Step{Name: "unknown class", Do: "PATCH /v1/organizations", Body: `{"rate_limit_overrides":{"gold":700}}`, Status: 422},
		Step{Name: "wrong type", Do: "PATCH /v1/organizations", Body: `{"metadata":[]}`, Status: 422, Check: map[string]any{"error.details.validation_errors.0.location": []string{"body", "metadata"}}},
		Step{Name: "credits", Do: "GET /v1/organizations/credits", Check: map[string]any{"unlimited": true}},
		Step{Name: "the other one is untouched", Do: "GET /v1/organizations", As: "other", Check: map[string]any{"organization_name": "other", "users.#": 1}},
	)
}

func TestUserScenario(t *testing.T) {
	newStack(t).Play(t,
		Step{Name: "create", Do: "POST /v1/organizations/users", Body: `{"email":"bob@example.com","user_name":"Bob","metadata":{"team":"x"}}`, Events: []string{"user.saved"},
			Check: map[string]any{"email": "bob@example.com", "role": "member", "status": "active", "metadata.team": "x", "user_id": Match("^usr_[0-9a-f]{15}$"), "internal_id": Match("^int_"), "last_login": Absent}},
		Step{Name: "twice", Do: "POST /v1/organizations/users", Body: `{"email":"bob@example.com","user_name":"Bob"}`, Status: 409, Check: map[string]any{"error.type": "AlreadyExistsError"}},
		Step{Name: "no address", Do: "POST /v1/organizations/users", Body: `{"email":"bob","user_name":"Bob"}`, Status: 422},
		Step{Name: "no name", Do: "POST /v1/organizations/users", Body: `{"email":"b@example.com"}`, Status: 422, Check: map[string]any{"error.details.validation_errors.0.type": "missing"}},
		Step{Name: "idempotent", Do: "POST /v1/organizations/users", Header: map[string]string{"Idempotency-Key": "k1"}, Body: `{"email":"eve@example.com","user_name":"Eve"}`, Events: []string{"user.saved"}, Save: map[string]string{"eve": "user_id"}},
		Step{Name: "repeated", Do: "POST /v1/organizations/users", Header: map[string]string{"Idempotency-Key": "k1"}, Body: `{"email":"eve@example.com","user_name":"Eve"}`, Check: map[string]any{"user_id": "${eve}"}},
		Step{Name: "reused", Do: "POST /v1/organizations/users", Header: map[string]string{"Idempotency-Key": "k1"}, Body: `{"email":"eva@example.com","user_name":"Eva"}`, Status: 409, Check: map[string]any{"error.code": "idempotency_key_reused"}},
		Step{Name: "read", Do: "GET /v1/organizations/users/bob%40example.com", As: "reader", Check: map[string]any{"user_name": "Bob"}},
		Step{Name: "list", Do: "GET /v1/organizations/users?role=member&limit=2&skip=1", Check: map[string]any{"results.#": 2, "total": 4, "results.0.email": "eve@example.com"}},
		Step{Name: "list out of bounds", Do: "GET /v1/organizations/users?limit=0", Status: 422},
		Step{Name: "list by unknown role", Do: "GET /v1/organizations/users?role=king", Status: 422},
		Step{Name: "change", Do: "PATCH /v1/organizations/users/bob@example.com", Body: `{"role":"viewer"}`, Events: []string{"user.saved"}, Check: map[string]any{"role": "viewer", "user_name": "Bob", "metadata.team": "x"}},
		Step{Name: "unknown role", Do: "PATCH /v1/organizations/users/bob@example.com", Body: `{"role":"king"}`, Status: 422},
		Step{Name: "not of this organization", Do: "GET /v1/organizations/users/oto@example.com", Status: 404},
		Step{Name: "member may not create", Do: "POST /v1/organizations/users", As: "member", Body: `{"email":"x@example.com","user_name":"X1"}`, Status: 403},
		Step{Name: "delete", Do: "DELETE /v1/organizations/users/bob@example.com", Events: []string{"user.deleted"}, Check: map[string]any{"success": true}},
		Step{Name: "gone", Do: "GET /v1/organizations/users/bob@example.com", Status: 404},
	)
}

func TestAPIKeyScenario(t *testing.T) {
	st := newStack(t)
	keys := "/v1/organizations/users/member@example.com/api-keys"
	st.Play(t,
		Step{Name: "create", Do: "POST " + keys, Body: `{"name":"ci"}`, Events: []string{"api_key.saved"}, Save: map[string]string{"ci": "key"},
			Check: map[string]any{"name": "ci", "status": "active", "permissions": []string{"read", "write", "delete"}, "key": Match("^sk_live_[0-9A-Za-z]{43}$"), "key_prefix": Match("^sk_live_.{8}$"), "key_hash": "not shown", "key_type": "standard"}},
		Step{Name: "works at once", Do: "GET /v1/me", As: "ci", Check: map[string]any{"key.name": "ci"}},
		Step{Name: "name taken", Do: "POST " + keys, Body: `{"name":"ci"}`, Status: 409},
		Step{Name: "unknown permission", Do: "POST " + keys, Body: `{"name":"x","permissions":["root"]}`, Status: 422, Check: map[string]any{"error.details.validation_errors.0.location": []any{"body", "permissions", 0}}},
		Step{Name: "bad scope", Do: "POST " + keys, Body: `{"name":"x","scopes":[{"resource_type":"planet","resource_id":"*"}]}`, Status: 422},
		Step{Name: "expired already", Do: "POST " + keys, Body: `{"name":"x","expires_at":"2001-01-01T00:00:00Z"}`, Status: 422},
		Step{Name: "of an end user", Do: "POST " + keys, Body: `{"name":"end","principal_id":"user:7","permissions":["admin"]}`, Events: []string{"api_key.saved"}, Save: map[string]string{"end": "key"}, Check: map[string]any{"key_type": "user_scoped"}},
		Step{Name: "end users administer nothing", Do: "GET " + keys, As: "end", Status: 403},
		Step{Name: "list", Do: "GET " + keys, Check: map[string]any{"total": 3, "results.0.key": Absent, "results.0.key_hash": Present}},
		Step{Name: "rename", Do: "PATCH " + keys + "/ci", Body: `{"name":"ci2","description":"d","rate_limit_override":9}`, Events: []string{"api_key.saved"}, Check: map[string]any{"name": "ci2", "description": "d", "rate_limit_override": 9, "key": Absent}},
		Step{Name: "rotate", Do: "POST " + keys + "/ci2/rotate", Events: []string{"api_key.saved"}, Save: map[string]string{"ci2": "key"}},
		Step{Name: "the old one is dead", Do: "GET /v1/me", As: "ci", Status: 401, Check: map[string]any{"error.type": "UnauthorizedError"}},
		Step{Name: "the new one works", Do: "GET /v1/me", As: "ci2"},
		Step{Name: "rotate with overlap", Do: "POST " + keys + "/ci2/rotate?overlap_seconds=60", Events: []string{"api_key.saved"}, Save: map[string]string{"ci3": "key"}},
		Step{Name: "both work", Do: "GET /v1/me", As: "ci2"},
	)
	st.clock.at = st.clock.at.Add(61 * time.Second)
	st.Play(t,
		Step{Name: "the overlap is over", Do: "GET /v1/me", As: "ci2", Status: 401},
		Step{Name: "the newest works", Do: "GET /v1/me", As: "ci3"},
		Step{Name: "the protected key stays", Do: "POST /v1/organizations/users/ada@example.com/api-keys/admin-key/rotate", Status: 403},
		Step{Name: "revoke", Do: "DELETE " + keys + "/ci2", Events: []string{"api_key.revoked"}, Check: map[string]any{"success": true}},
		Step{Name: "at once", Do: "GET /v1/me", As: "ci3", Status: 401, Check: map[string]any{"error.code": "key_revoked"}},
		Step{Name: "again", Do: "DELETE " + keys + "/ci2", Status: 404},
		Step{Name: "list without", Do: "GET " + keys, Check: map[string]any{"total": 2}},
		Step{Name: "list with", Do: "GET " + keys + "?include_revoked=true", Check: map[string]any{"total": 3, "results.1.status": Present}},
		Step{Name: "revoke by status", Do: "PATCH " + keys + "/end", Body: `{"status":"revoked"}`, Events: []string{"api_key.revoked"}, Check: map[string]any{"status": "revoked"}},
		Step{Name: "of another organization", Do: "GET " + keys, As: "other", Status: 404},
		Step{Name: "delete the user", Do: "DELETE /v1/organizations/users/member@example.com", Events: []string{"user.deleted", "api_key.revoked"}},
		Step{Name: "its key is dead", Do: "GET /v1/me", As: "member", Status: 401},
	)
}
