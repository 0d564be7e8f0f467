// Package clienttest drives the official Python client, unchanged and in both
// of its layers, against the real binary, and checks every answer by value.
package clienttest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"varve/eventstore/servertest"
	api "varve/http"
	"varve/http/openapi"
)

// outcome is one line of the driver: a step, or the summary at the end.
type outcome struct {
	Step       string
	Module     string
	Operations []string
	Result     string // pass, fail, blocked
	Detail     string
	MS         int
	Summary    bool
	Driven     map[string]int    // operation → answers that were parsed
	Declined   map[string]string // operation → the message of its 501
}

// TestOfficialClient runs driver/run.py against a fresh server and reports each
// of its steps, and holds that the client drove every operation of required.txt
// and every one of the reference that is served: what no client has read is not
// known to be right.
func TestOfficialClient(t *testing.T) {
	python := os.Getenv("VARVE_CLIENT_PYTHON")
	if python == "" {
		t.Skip("VARVE_CLIENT_PYTHON is not set: it names the python of a virtual environment with the packages of requirements.txt; make test installs one and sets it")
	}
	drive(t, python, boot(t))
}

// TestOfficialClientOnServers does the same where the server keeps everything in
// PostgreSQL, publishes to Kafka and has its blobs in a bucket.
func TestOfficialClientOnServers(t *testing.T) {
	python, store, kafka, blobs := os.Getenv("VARVE_CLIENT_PYTHON"), os.Getenv("VARVE_TEST_POSTGRES"), os.Getenv("VARVE_TEST_KAFKA"), os.Getenv("VARVE_TEST_S3")
	if python == "" || store == "" || kafka == "" || blobs == "" {
		t.Skip("one of VARVE_CLIENT_PYTHON, VARVE_TEST_POSTGRES, VARVE_TEST_KAFKA and VARVE_TEST_S3 is not set: make test sets all")
	}
	name := fmt.Sprintf("client_%d", os.Getpid())
	drive(t, python, boot(t, "--store", servertest.Database(t, store), "--bus", "kafka://"+kafka+"?topic="+name+".events", "--blobs", blobs))
}

func drive(t *testing.T, python string, server server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	driver := exec.CommandContext(ctx, python, filepath.Join("driver", "run.py"), server.address)
	driver.Env = append(os.Environ(),
		"PYTHONDONTWRITEBYTECODE=1",
		"VARVE_API_KEY="+server.key,
		"VARVE_ORGANIZATION_ID="+server.organization,
		"VARVE_USER_EMAIL="+server.email,
		"NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1",
	)
	var complaints strings.Builder
	driver.Stderr = &complaints
	pipe, err := driver.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := driver.Start(); err != nil {
		t.Fatal(err)
	}
	var end outcome
	steps := 0
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o outcome
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			t.Logf("driver: %s", lines.Text())
			continue
		}
		if o.Summary {
			end = o
			continue
		}
		steps++
		t.Run(o.Module+"/"+o.Step, func(t *testing.T) {
			t.Logf("%d ms: %s", o.MS, strings.Join(o.Operations, ", "))
			if o.Result != "pass" {
				t.Errorf("%s: %s", o.Result, o.Detail)
			}
		})
	}
	if err := driver.Wait(); err != nil || !end.Summary {
		t.Fatalf("the driver stopped before its end: %v\n%s", err, complaints.String())
	}
	for _, name := range required(t) {
		if end.Driven[name] == 0 {
			t.Errorf("%s was not driven: its step failed or was blocked, or the operation left the driver; required.txt names it", name)
		}
	}
	for _, name := range served() {
		if end.Driven[name] == 0 {
			t.Errorf("%s is served and was not driven: add a call of it to a step of the driver", name)
		}
	}
	report(t, steps, end)
}

// served are the operations of the reference that are served, as the client
// names them: one class a tag, one method an operation.
func served() []string {
	server := api.New(api.Deps{})
	var names []string
	for _, o := range openapi.Operations() {
		if !o.Own && server.Served(o) {
			names = append(names, o.Tag+"Api."+o.ID)
		}
	}
	return names
}

// required are the operations that the run must have driven.
func required(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("required.txt")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.SplitSeq(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			names = append(names, line)
		}
	}
	if !slices.IsSorted(names) {
		t.Error("required.txt is sorted, so that two changes of it merge: sort it")
	}
	return names
}

// report prints what was driven; the checker of make test shows lines that
// begin with "report:" of passing tests too.
func report(t *testing.T, steps int, end outcome) {
	calls, generated, wrapped := 0, 0, 0
	for name, count := range end.Driven {
		calls += count
		if strings.HasPrefix(name, "Mixpeek.") || strings.Contains(name, " ") {
			wrapped++
		} else {
			generated++
		}
	}
	t.Logf("report: official client: %d steps, %d calls; %d operations of the generated layer and %d of the wrapper parsed and checked", steps, calls, generated, wrapped)
	declined := make([]string, 0, len(end.Declined))
	for name := range end.Declined {
		declined = append(declined, name)
	}
	sort.Strings(declined)
	if len(declined) > 0 {
		t.Logf("report: official client: answered 501 by name: %s", strings.Join(declined, ", "))
	}
}
