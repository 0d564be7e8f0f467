package main

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"varve/cmd/varve/serve"
	"varve/domain"
	"varve/eventstore"
)

// An event that no command would write is put into the log of a stopped server:
// the next one parks it, and the command line shows it, tries it again and skips it.
func TestParkedFromTheCommandLine(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	out, errs, code := varve(t, "init", "--data", data, "--organization", "Example", "--email", "ada@example.com", "--json")
	var made map[string]string
	if err := json.Unmarshal([]byte(out), &made); err != nil || code != 0 {
		t.Fatalf("init: %v, %s", err, errs)
	}
	v, err := serve.Open(t.Context(), serve.Config{Data: data, LogLevel: "error"})
	if err != nil {
		t.Fatal(err)
	}
	log := "o-" + strings.TrimPrefix(made["organization_id"], domain.OrganizationPrefix)
	if _, err := v.Store.Append(t.Context(), eventstore.Append{Batches: []eventstore.Batch{{Log: eventstore.LogID(log), Stream: "document-x",
		Events: []eventstore.Event{{Type: "document.written", Data: json.RawMessage(`{"document_id":7}`)}}}}}); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}

	server := start(t, data)
	server.Key = made["api_key"]
	line := regexp.MustCompile(`(?m)^documents ` + log + ` document-x --at (\d+)\n  since .* of the organization, tried 3 times: .*position \d+`)
	var found []string
	for deadline := time.Now().Add(time.Minute); found == nil; time.Sleep(10 * time.Millisecond) {
		list := server.varve(t, "parked")
		if found = line.FindStringSubmatch(list); found == nil && time.Now().After(deadline) {
			t.Fatalf("the parked stream is not listed:\n%s", list)
		}
	}
	remote := []string{"--url", server.URL, "--key", server.Key}
	out, errs, code = varve(t, append([]string{"parked", "retry", "documents", log, "document-x", "--at", found[1]}, remote...)...)
	if code != 1 || out != "" || !strings.Contains(errs, "is parked still") || !strings.Contains(errs, "tried 4 times") {
		t.Errorf("retry: status %d, %q, %s", code, out, errs)
	}
	if out = server.varve(t, "parked", "skip", "documents", log, "document-x", "--at", found[1]); !strings.Contains(out, "one event was left out") {
		t.Errorf("skip: %s", out)
	}
	if out = server.varve(t, "parked"); out != "nothing is parked\n" {
		t.Errorf("afterwards: %s", out)
	}
	if out = server.varve(t, "parked", "--json"); strings.Join(strings.Fields(out), "") != `{"models":[]}` {
		t.Errorf("afterwards, as JSON: %s", out)
	}
	_, errs, code = varve(t, append([]string{"parked", "skip", "documents", log}, remote...)...)
	if code != 1 || !strings.Contains(errs, "has not parked log "+log+" as a whole") {
		t.Errorf("a second skip: status %d, %s", code, errs)
	}
	server.stop(t)
}
