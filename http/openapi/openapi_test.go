package openapi

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestReferenceIsWhole(t *testing.T) {
	reference := 0
	ids := map[string]string{}
	for _, o := range Operations() {
		if !o.Own {
			reference++
		}
		if before, twice := ids[o.ID]; twice {
			t.Errorf("operationId %s names %s and %s %s; choose another for our own path", o.ID, before, o.Method, o.Path)
		}
		ids[o.ID] = o.Method + " " + o.Path
	}
	if reference != 289 {
		t.Errorf("the reference has %d operations, not 289", reference)
	}
}

// Every declared answer compiles: a broken $ref in one of our files is found here.
func TestEverySchemaCompiles(t *testing.T) {
	for _, o := range Operations() {
		err := ValidateResponse(o.Method, o.Path, o.Success(), []byte("{}"))
		var contract *ContractError
		if err != nil && !errors.As(err, &contract) {
			t.Errorf("%s %s: %v", o.Method, o.Path, err)
		}
	}
}

func TestValidateResponse(t *testing.T) {
	for _, c := range []struct {
		name, method, path string
		status             int
		body               string
		wrong              string // part of the error; empty: none
	}{
		{"required present", "GET", "/v1/namespaces/ns_1", 200, `{"namespace_name":"a"}`, ""},
		{"null where optional", "GET", "/v1/namespaces/ns_1", 200, `{"namespace_name":"a","description":null}`, ""},
		{"required missing", "GET", "/v1/namespaces/ns_1", 200, `{}`, "namespace_name"},
		{"required null", "GET", "/v1/namespaces/ns_1", 200, `{"namespace_name":null}`, "/namespace_name"},
		{"wrong type in a list", "GET", "/v1/namespaces", 200, `{"results":[{"namespace_name":7}],"pagination":{},"total_count":1}`, "/results/0/namespace_name"},
		{"closed enum", "GET", "/v1/organizations", 200, `{"organization_id":"o","organization_name":"n","account_type":"gold","credit_count":0,"rate_limits":{},"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z"}`, "/account_type"},
		{"not a time", "GET", "/v1/namespaces/ns_1", 200, `{"namespace_name":"a","created_at":"yesterday"}`, "/created_at"},
		{"wrong success", "POST", "/v1/namespaces", 201, `{"namespace_name":"a"}`, "must be 200"},
		{"error envelope", "GET", "/v1/me", 401, `{"success":false,"status":401,"error":{"message":"m","type":"t"}}`, ""},
		{"bare error", "GET", "/v1/me", 401, `{"detail":"m"}`, "error"},
		{"no such operation", "GET", "/v1/nothing", 200, `{}`, "no such operation"},
		{"empty 204", "DELETE", "/v1/organizations/webhooks/wh_1", 204, ``, ""},
		{"204 with a body", "DELETE", "/v1/organizations/webhooks/wh_1", 204, `{}`, "must be empty"},
		{"query is not path", "GET", "/v1/namespaces?limit=1", 200, `{"results":[],"pagination":{},"total_count":0}`, ""},
		{"literal before parameter", "POST", "/v1/namespaces/list", 200, `{"results":[],"pagination":{},"total_count":0}`, ""},
	} {
		err := ValidateResponse(c.method, c.path, c.status, []byte(c.body))
		if c.wrong == "" && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s: error %v does not name %s", c.name, err, c.wrong)
		}
	}
}

func TestDocumentHidesWhatIsNotServed(t *testing.T) {
	raw, err := Document("1", func(o Operation) bool { return o.Path == "/v1/me" })
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]map[string]any
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" || len(doc.Paths) < 221 {
		t.Fatalf("document is %s with %d paths", doc.OpenAPI, len(doc.Paths))
	}
	if doc.Paths["/v1/me"]["get"]["x-mcp-hidden"] != nil || doc.Paths["/v1/namespaces"]["get"]["x-mcp-hidden"] != true {
		t.Error("hidden must be what is not served, and nothing else")
	}
}
