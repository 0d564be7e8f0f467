package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// attacker speaks plain HTTP to a server that may be gone the next moment.
type attacker struct {
	url, key string
	ctx      context.Context // ends its requests; nil: nothing does
	patient  bool            // wants the newest, and tries again what is answered 429 or 503
}

// do sends a request; status is 0 where no whole answer came.
func (a attacker) do(method, path string, body any, idempotency string) (status int, answer map[string]any) {
	status, answer = a.once(method, path, body, idempotency)
	repeatable := method != "POST" || idempotency != "" || strings.HasSuffix(path, "/execute") || strings.HasSuffix(path, "/list")
	for tries := 0; a.patient && repeatable && (status == 429 || status == 503) && tries < 300; tries++ {
		time.Sleep(100 * time.Millisecond)
		status, answer = a.once(method, path, body, idempotency)
		if method == "DELETE" && status == 404 {
			status = 200 // the first did it, and could not say so
		}
	}
	return status, answer
}

func (a attacker) once(method, path string, body any, idempotency string) (status int, answer map[string]any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	req, err := http.NewRequestWithContext(cmp.Or(a.ctx, context.Background()), method, a.url+path, bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	for name, v := range map[string]string{"Authorization": "Bearer " + a.key, "X-Namespace": "attacked", "Idempotency-Key": idempotency, "Content-Type": "application/json"} {
		req.Header.Set(name, v)
	}
	if a.patient {
		req.Header.Set("Varve-Consistency", "strong")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close()
	if b, err = io.ReadAll(res.Body); err != nil {
		return 0, nil
	}
	_ = json.Unmarshal(b, &answer)
	return res.StatusCode, answer
}

// thing is an object or document as one client knows it.
type thing struct {
	path    string // "" until its creation was acknowledged
	values  []int  // that its field n may have: one, or two after a change without an answer
	deleted string // no, yes, perhaps
}

// writer is one client: what it wrote, and what was acknowledged of that.
type writer struct {
	name, create string // path that it posts to
	id           string // member of the answer
	things       []*thing
	batches      []string
	executions   []string
	acknowledged atomic.Int64 // requests
	submitted    atomic.Int64 // batches
	wrong        []string
}

func (w *writer) refused(what string, status int, answer map[string]any) {
	w.wrong = append(w.wrong, fmt.Sprintf("%s: %s was answered %d %v", w.name, what, status, answer))
}

// ended is the end of a client: by its server's end, or by an answer that is wrong.
func (w *writer) ended(what string, status int, answer map[string]any) {
	if status != 0 {
		w.refused(what, status, answer)
	}
}

// write makes, changes and deletes things until the server is gone. The first
// request without an answer is the last.
func (w *writer) write(a attacker, round int) {
	random := rand.New(rand.NewPCG(uint64(round), uint64(len(w.name)+len(w.things))))
	for i := 0; ; i++ {
		var live []*thing
		for _, t := range w.things {
			if t.deleted == "no" && t.path != "" {
				live = append(live, t)
			}
		}
		kind, v := random.IntN(10), round*100000+i
		if len(live) == 0 || kind < 5 {
			mark := fmt.Sprintf("%s-%d-%d", w.name, round, i)
			t := &thing{values: []int{v}, deleted: "no"}
			w.things = append(w.things, t)
			body := map[string]any{"mark": mark, "n": v, "blobs": []any{map[string]any{"property": "text", "type": "text", "data": "a shell that buckles under load " + mark}}}
			if w.id == "document_id" {
				delete(body, "blobs")
			}
			status, answer := a.do("POST", w.create, body, mark)
			if status == 0 {
				t.path = "" // sent again after the restart, under the same key
				w.again(t, body, mark)
				return
			}
			id, _ := answer[w.id].(string)
			if status != 200 && status != 201 || id == "" {
				w.refused("POST", status, answer)
				return
			}
			t.path = w.create + "/" + id
		} else if t := live[random.IntN(len(live))]; kind < 8 {
			t.values = append(t.values, v)
			status, answer := a.do("PATCH", t.path, map[string]any{"n": v}, "")
			if status == 0 {
				return
			}
			if status != 200 {
				w.refused("PATCH", status, answer)
				return
			}
			t.values = t.values[1:]
		} else {
			t.deleted = "perhaps"
			status, answer := a.do("DELETE", t.path, nil, "")
			if status == 0 {
				return
			}
			if status >= 300 {
				w.refused("DELETE", status, answer)
				return
			}
			t.deleted = "yes"
		}
		w.acknowledged.Add(1)
	}
}

var unanswered sync.Map // *thing → func(attacker) of the creation that had no answer

func (w *writer) again(t *thing, body any, key string) {
	unanswered.Store(t, func(a attacker) {
		status, answer := a.do("POST", w.create, body, key)
		id, _ := answer[w.id].(string)
		if status != 200 && status != 201 || id == "" {
			w.refused("the repeated POST", status, answer)
			return
		}
		t.path = w.create + "/" + id
	})
}

// batch puts objects into batches and submits them.
func (w *writer) batch(a attacker, round int) {
	for i := 0; ; i++ {
		mark := fmt.Sprintf("%s-%d-%d", w.name, round, i)
		var ids []string
		for j := range 4 {
			text := strings.Repeat("A paragraph about boundary layers.\n\n", 6)
			status, answer := a.do("POST", w.create, map[string]any{"mark": mark + "-" + strconv.Itoa(j), "blobs": []any{map[string]any{"property": "text", "type": "text", "data": text}}}, mark+"-"+strconv.Itoa(j))
			if status != 200 {
				w.ended("an object", status, answer)
				return
			}
			ids = append(ids, answer["object_id"].(string))
		}
		status, answer := a.do("POST", "/v1/buckets/shells/batches", map[string]any{"object_ids": ids}, mark+"-batch")
		id, _ := answer["batch_id"].(string)
		if status != 200 {
			w.ended("a batch", status, answer)
			return
		}
		if status, answer = a.do("POST", "/v1/buckets/shells/batches/"+id+"/submit", map[string]any{}, mark+"-submit"); status != 200 {
			w.ended("a submission", status, answer)
			return
		}
		w.batches = append(w.batches, id)
		w.acknowledged.Add(6)
		w.submitted.Add(1)
	}
}

func (w *writer) search(a attacker, _ int) {
	for {
		status, answer := a.do("POST", "/v1/retrievers/find/execute", map[string]any{"inputs": map[string]any{"query": "boundary layers that buckle"}}, "")
		if status == 0 {
			return
		}
		id, _ := answer["execution_id"].(string)
		if status != 200 || id == "" {
			w.refused("search", status, answer)
			return
		}
		w.executions = append(w.executions, id)
		w.acknowledged.Add(1)
	}
}

// check asks a restarted server for everything that this client was told.
func (w *writer) check(t *testing.T, a attacker) {
	t.Helper()
	for _, x := range w.wrong {
		t.Error(x)
	}
	for _, x := range w.things {
		if again, ok := unanswered.LoadAndDelete(x); ok {
			again.(func(attacker))(a)
		}
		status, answer := a.do("GET", x.path, nil, "")
		n, _ := answer["n"].(float64)
		switch {
		case status == 404 && x.deleted != "no":
			x.deleted = "yes"
		case status != 200 || x.deleted == "yes":
			t.Errorf("%s: GET %s gives %d, deleted: %s", w.name, x.path, status, x.deleted)
		case !slices.Contains(x.values, int(n)):
			t.Errorf("%s: n of %s is %v, not one of %v", w.name, x.path, n, x.values)
		default:
			x.deleted, x.values = "no", []int{int(n)}
		}
	}
	for _, id := range w.executions {
		if status, answer := a.do("GET", "/v1/retrievers/find/executions/"+id, nil, ""); status != 200 {
			t.Errorf("an answered execution cannot be read: %d %v", status, answer)
		}
	}
	w.executions = nil
	for _, id := range w.batches {
		deadline := time.Now().Add(2 * time.Minute)
		for {
			status, answer := a.do("GET", "/v1/batches/"+id, nil, "")
			if answer["status"] == "COMPLETED" {
				if answer["documents_written"] != 4.0 {
					t.Errorf("batch %s of 4 objects wrote %v documents", id, answer["documents_written"])
				}
				break
			}
			if status != 200 || answer["status"] != "PROCESSING" || time.Now().After(deadline) {
				t.Errorf("batch %s does not end: %d %v %v", id, status, answer["status"], answer["failure_reason"])
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// all reads every row of a list, by cursor.
func (a attacker) all(t *testing.T, path string) []any {
	t.Helper()
	var rows []any
	body := map[string]any{"limit": 500}
	for {
		status, answer := a.do("POST", path, body, "")
		if status != 200 {
			t.Fatalf("%s: %d %v", path, status, answer)
		}
		rows = append(rows, answer["results"].([]any)...)
		pagination, _ := answer["pagination"].(map[string]any)
		next, _ := pagination["next_cursor"].(string)
		if next == "" {
			return rows
		}
		body["cursor"] = next
	}
}

// state is everything that reads show: lists, and what searches find with which score.
func (a attacker) state(t *testing.T) string {
	t.Helper()
	shown := map[string]any{"objects": a.all(t, objectsPath+"/list"), "documents": a.all(t, "/v1/collections/texts/documents/list"), "direct": a.all(t, "/v1/collections/direct/documents/list"), "batches": a.all(t, "/v1/buckets/shells/batches/list")}
	for _, query := range []string{"boundary layers", "a shell that buckles", "load"} {
		status, answer := a.do("POST", "/v1/retrievers/find/execute", map[string]any{"inputs": map[string]any{"query": query}, "limit": 100}, "")
		if status != 200 {
			t.Fatalf("search: %d %v", status, answer)
		}
		shown[query] = answer["documents"]
		if list, _ := answer["documents"].([]any); len(list) == 0 && query == "boundary layers" {
			t.Error("no search finds what batches wrote")
		}
	}
	b, err := json.Marshal(shown)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// twice looks for what is there more than once: what one client sent once, and
// documents of one object.
func (a attacker) twice(t *testing.T) {
	t.Helper()
	marks := map[any]int{}
	for _, path := range []string{objectsPath + "/list", "/v1/collections/direct/documents/list"} {
		for _, row := range a.all(t, path) {
			marks[row.(map[string]any)["mark"]]++
		}
	}
	for mark, n := range marks {
		if n != 1 {
			t.Errorf("%v is there %d times", mark, n)
		}
	}
	roots := map[any]int{}
	for _, row := range a.all(t, "/v1/collections/texts/documents/list") {
		internal := row.(map[string]any)["_internal"].(map[string]any)
		roots[internal["lineage"].(map[string]any)["root_object_id"]]++
	}
	for root, n := range roots {
		if n != 1 {
			t.Errorf("%v was extracted into %d documents", root, n)
		}
	}
}

// crowd is eight clients: what each does until the server is gone.
func crowd() map[*writer]func(attacker, int) {
	clients := map[*writer]func(attacker, int){}
	for i := range 8 {
		w := &writer{name: "client" + strconv.Itoa(i), create: objectsPath, id: "object_id"}
		switch {
		case i < 3:
			clients[w] = w.write
		case i < 5:
			w.create, w.id = "/v1/collections/direct/documents", "document_id"
			clients[w] = w.write
		case i < 7:
			clients[w] = w.batch
		default:
			clients[w] = w.search
		}
	}
	return clients
}

// acknowledged is how many requests of all clients were, and how many batches they submitted.
func acknowledged(clients map[*writer]func(attacker, int)) (requests, batches int64) {
	for w := range clients {
		requests, batches = requests+w.acknowledged.Load(), batches+w.submitted.Load()
	}
	return requests, batches
}

// atWork waits until the clients had so many more requests acknowledged than before, and
// ever submitted a batch: on a slow machine that only takes longer.
func atWork(t *testing.T, clients map[*writer]func(attacker, int), before, more int64) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		requests, batches := acknowledged(clients)
		if requests >= before+more && batches > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the clients do not get on: %d requests were acknowledged, %d batches submitted", requests-before, batches)
			return
		}
	}
}

const objectsPath = "/v1/buckets/shells/objects"

// setUp makes what the clients write to.
func (a attacker) setUp(t *testing.T) {
	t.Helper()
	for _, c := range []struct{ path, body string }{
		{"/v1/namespaces", `{"namespace_name":"attacked"}`},
		{"/v1/buckets", `{"bucket_name":"shells","bucket_schema":{"properties":{"text":{"type":"text"},"mark":{"type":"string"},"n":{"type":"integer"}}}}`},
		{"/v1/buckets", `{"bucket_name":"unused","bucket_schema":{"properties":{"text":{"type":"text"}}}}`},
		{"/v1/collections", `{"collection_name":"texts","source":{"type":"bucket","bucket_ids":["shells"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","input_mappings":{"text":"text"}}}`},
		{"/v1/collections", `{"collection_name":"direct","source":{"type":"bucket","bucket_ids":["unused"]},"feature_extractor":{"feature_extractor_name":"passthrough_extractor","version":"v1"}}`},
		{"/v1/retrievers", `{"retriever_name":"find","collection_identifiers":["texts"],"input_schema":{"query":{"type":"text"}},"stages":[{"stage_name":"find","config":{"stage_id":"feature_search","parameters":{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/bm25","query":"{{INPUT.query}}"}]}}}]}`},
	} {
		if status, answer := a.do("POST", c.path, json.RawMessage(c.body), ""); status >= 300 || status == 0 {
			t.Fatalf("POST %s: %d %v", c.path, status, answer)
		}
	}
}

// crashRounds is VARVE_CRASH_ROUNDS, or otherwise.
func crashRounds(t *testing.T, otherwise int) int {
	t.Helper()
	text := os.Getenv("VARVE_CRASH_ROUNDS")
	if text == "" {
		return otherwise
	}
	rounds, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return rounds
}

// TestKilledServerLosesNothing kills the whole server again and again under eight
// clients: what was acknowledged is there, nothing is there twice, batches go on,
// executions can be read, and read models are what a rebuild makes of the log.
// VARVE_CRASH_ROUNDS asks for more than three rounds.
func TestKilledServerLosesNothing(t *testing.T) {
	rounds := crashRounds(t, 3)
	data := filepath.Join(t.TempDir(), "data")
	server := start(t, data)
	a := attacker{url: server.URL, key: server.Key}
	a.setUp(t)
	clients := crowd()
	for round := range rounds {
		var running sync.WaitGroup
		before, _ := acknowledged(clients)
		for _, work := range clients {
			running.Go(func() { work(a, round) })
		}
		atWork(t, clients, before, 20)
		time.Sleep(rand.N(500 * time.Millisecond))
		if err := server.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = server.cmd.Wait()
		running.Wait()

		server = start(t, data)
		a.url = server.URL
		var checked sync.WaitGroup
		for w := range clients {
			checked.Go(func() { w.check(t, a) })
		}
		checked.Wait()
		a.twice(t)
		if t.Failed() {
			t.FailNow()
		}
	}
	incremental := a.state(t)
	server.stop(t)
	if out, errs, code := varve(t, "log", "verify", "--data", data); code != 0 {
		t.Errorf("verify after the kills: %s%s", out, errs)
	}
	for _, name := range []string{"models", "index"} {
		if err := os.RemoveAll(filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
	}
	server = start(t, data)
	server.ready(t)
	a.url = server.URL
	if rebuilt := a.state(t); rebuilt != incremental {
		at := 0
		for at < min(len(rebuilt), len(incremental)) && rebuilt[at] == incremental[at] {
			at++
		}
		t.Errorf("a rebuild shows something else at byte %d:\n%.300s\nnot\n%.300s", at, rebuilt[max(0, at-100):], incremental[max(0, at-100):])
	}
	server.stop(t)
	requests, _ := acknowledged(clients)
	t.Logf("report: %d acknowledged requests over %d kills; %d bytes of answers are the same after a rebuild", requests, rounds, len(incremental))
}
