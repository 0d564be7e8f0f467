package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"varve/eventstore/blob"
	"varve/eventstore/servertest"
)

// ask sends a request to a server and gives status, Retry-After and answer.
func (c *child) ask(t *testing.T, method, path string, body any) (status int, retry string, answer map[string]any) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, c.URL+path, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]string{"Authorization": "Bearer " + c.Key, "X-Namespace": "kept", "Content-Type": "application/json"} {
		req.Header.Set(name, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal(b, &answer)
	return res.StatusCode, res.Header.Get("Retry-After"), answer
}

func (c *child) must(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	status, _, answer := c.ask(t, method, path, body)
	if status >= 300 {
		t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}

// file is an object with a text file that is too big for the log.
func file(name string) map[string]any {
	text := "shock waves of " + name + ". " + strings.Repeat("A wing in a supersonic flow has a bow shock. ", 3000)
	return map[string]any{"name": name, "blobs": []any{map[string]any{"property": "file", "type": "text", "data": "data:text/plain;base64," + base64.StdEncoding.EncodeToString([]byte(text))}}}
}

func setUpFiles(t *testing.T, c *child) {
	t.Helper()
	c.must(t, "POST", "/v1/namespaces", map[string]any{"namespace_name": "kept"})
	c.must(t, "POST", "/v1/buckets", map[string]any{"bucket_name": "files", "bucket_schema": map[string]any{"properties": map[string]any{"name": field("string", true), "file": field("text", false)}}})
	c.must(t, "POST", "/v1/collections", map[string]any{"collection_name": "files", "source": map[string]any{"type": "bucket", "bucket_ids": []string{"files"}},
		"feature_extractor": map[string]any{"feature_extractor_name": "text_extractor", "version": "v1", "input_mappings": map[string]any{"text": "file"}, "parameters": map[string]any{"extractor_type": "text_extractor", "split_by": "sentences", "chunk_size": 10}}})
}

// extract runs a batch of one object; waiting is for its end.
func (c *child) extract(t *testing.T, object any) (path string) {
	t.Helper()
	batch := c.must(t, "POST", "/v1/buckets/files/batches", map[string]any{"object_ids": []any{object}})
	path = fmt.Sprintf("/v1/buckets/files/batches/%v", batch["batch_id"])
	c.must(t, "POST", path+"/submit", nil)
	return path
}

func (c *child) ended(t *testing.T, path string) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		b := c.must(t, "GET", path, nil)
		if s := fmt.Sprint(b["status"]); strings.HasPrefix(s, "COMPLETED") || s == "FAILED" || time.Now().After(deadline) {
			return b
		}
	}
}

// away is an S3 server that can go away; refused is sent to for what it does not
// answer then.
func away(t *testing.T) (location string, down *atomic.Bool, refused chan struct{}) {
	t.Helper()
	location = os.Getenv("VARVE_TEST_S3")
	if location == "" {
		t.Skip("VARVE_TEST_S3 names no bucket: make test starts a server")
	}
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	target, err := url.Parse(q.Get("endpoint"))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	down, refused = &atomic.Bool{}, make(chan struct{}, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !down.Load() {
			proxy.ServeHTTP(w, r)
			return
		}
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.Close()
		}
		refused <- struct{}{}
	}))
	t.Cleanup(server.Close)
	q.Set("endpoint", server.URL)
	u.RawQuery = q.Encode()
	return u.String(), down, refused
}

// While the bucket is away, what needs it is answered 503 and leaves nothing half
// done, a batch waits, and the rest goes on; afterwards everything does.
func TestServeWithoutBucket(t *testing.T) {
	location, down, refused := away(t)
	data := filepath.Join(t.TempDir(), "data")
	server := start(t, data, "--blobs", location)
	setUpFiles(t, server)
	first := server.must(t, "POST", "/v1/buckets/files/objects", file("first"))
	if b := server.ended(t, server.extract(t, first["object_id"])); b["status"] != "COMPLETED" {
		t.Fatalf("%v", b)
	}
	second := server.must(t, "POST", "/v1/buckets/files/objects", file("second"))
	down.Store(true)
	status, retry, answer := server.ask(t, "POST", "/v1/buckets/files/objects", file("third"))
	if status != 503 || retry == "" || strings.Contains(fmt.Sprint(answer), "127.0.0.1") {
		t.Errorf("an object with a file is answered %d, Retry-After %q, %v", status, retry, answer)
	}
	server.must(t, "POST", "/v1/buckets/files/objects", map[string]any{"name": "without a file"})
	for len(refused) > 0 {
		<-refused
	}
	waiting := server.extract(t, second["object_id"]) // it needs the bucket
	for range 4 {                                     // more than the attempts of one request: it is tried again
		select {
		case <-refused:
		case <-time.After(30 * time.Second):
			t.Fatal("the batch does not ask for its blob")
		}
	}
	if b := server.must(t, "GET", waiting, nil); strings.HasPrefix(fmt.Sprint(b["status"]), "COMPLETED") || b["status"] == "FAILED" {
		t.Errorf("a batch that needs the bucket ended: %v", b)
	}
	down.Store(false)
	if b := server.ended(t, waiting); b["status"] != "COMPLETED" {
		t.Errorf("afterwards the batch is %v", b)
	}
	if log := server.varve(t, "log", "tail", "--json", "-n", "kept"); strings.Contains(log, "third") || !strings.Contains(log, "without a file") {
		t.Errorf("of what was refused something was written: %s", log)
	}
	server.must(t, "POST", "/v1/buckets/files/objects", file("third"))
	if files, err := filepath.Glob(filepath.Join(data, "blobs", "*")); err != nil || len(files) > 0 {
		t.Errorf("blobs lie in the directory too: %v", files)
	}
	server.stop(t)
}

// A bucket that cannot be used is told in one line, without secrets, and the
// program ends with a status.
func TestServeRefusesBuckets(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "someone")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hidden-secret")
	for location, want := range map[string]string{
		"gs://bucket": "s3://bucket",
		"s3://bucket?endpoint=http://127.0.0.1:1&region=us-east-1": "no S3 server answers at 127.0.0.1:1",
		"s3://x:hidden-secret@bucket":                              "AWS_SECRET_ACCESS_KEY",
	} {
		began := time.Now()
		out, errs, code := varve(t, "serve", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--blobs", location)
		if code == 0 || !strings.Contains(errs, want) || strings.Contains(out+errs, "hidden-secret") || strings.Count(errs, "\n") != 1 || time.Since(began) > 15*time.Second {
			t.Errorf("%s: status %d after %s: %q does not say %q in one line", location, code, time.Since(began), errs, want)
		}
	}
	if os.Getenv("VARVE_TEST_S3") == "" {
		return
	}
	out, errs, code := varve(t, "serve", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--blobs", os.Getenv("VARVE_TEST_S3"))
	if code == 0 || !strings.Contains(errs, "correct AWS_ACCESS_KEY_ID") || strings.Contains(out+errs, "hidden-secret") || strings.Count(errs, "\n") != 1 {
		t.Errorf("wrong credentials: status %d, %q", code, errs)
	}
}

// From one machine to many: a directory is copied to PostgreSQL and S3 by the
// command line, and the server there answers the same key and extracts the same blobs.
func TestStoreCopy(t *testing.T) {
	dsn, bucket := os.Getenv("VARVE_TEST_POSTGRES"), os.Getenv("VARVE_TEST_S3")
	if dsn == "" || bucket == "" {
		t.Skip("VARVE_TEST_POSTGRES or VARVE_TEST_S3 names no server: make test starts them")
	}
	dsn = servertest.Database(t, dsn)
	data, beside := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "beside")
	server := start(t, data)
	setUpFiles(t, server)
	object := server.must(t, "POST", "/v1/buckets/files/objects", file("first"))
	copyCommand := []string{"--json", "store", "copy", "--from", data, "--to", dsn, "--to-blobs", bucket}
	if _, errs, code := varve(t, copyCommand...); code != 1 || !strings.Contains(errs, "in use by the server at "+server.URL) || strings.Count(errs, "\n") != 1 {
		t.Errorf("beside a running server: status %d, %q", code, errs)
	}
	server.stop(t)
	for range 2 { // the second time everything is there
		out, errs, code := varve(t, copyCommand...)
		var said struct {
			Records, Blobs int
			Equal          bool
		}
		if err := json.Unmarshal([]byte(out), &said); code != 0 || err != nil || !said.Equal || said.Blobs != 1 || said.Records < 5 {
			t.Fatalf("status %d: %s%s", code, out, errs)
		}
	}
	shared := start(t, beside, "--store", dsn, "--blobs", bucket)
	shared.Key = server.Key
	if got := shared.must(t, "GET", "/v1/buckets/files/objects/"+fmt.Sprint(object["object_id"]), nil); got["object_id"] != object["object_id"] {
		t.Errorf("%v", got)
	}
	if b := shared.ended(t, shared.extract(t, object["object_id"])); b["status"] != "COMPLETED" {
		t.Errorf("%v", b)
	}
	back := filepath.Join(t.TempDir(), "back")
	copyBack := []string{"store", "copy", "--from", dsn, "--from-blobs", bucket, "--to", back}
	if _, errs, code := varve(t, copyBack...); code != 1 || !strings.Contains(errs, "stop them first") {
		t.Errorf("beside a running server on PostgreSQL: status %d, %q", code, errs)
	}
	shared.stop(t)
	if out, errs, code := varve(t, copyBack...); code != 0 || !strings.Contains(out, "compared with the source and equal") {
		t.Fatalf("back: status %d: %s%s", code, out, errs)
	}
	again := start(t, back)
	again.Key = server.Key
	if b := again.ended(t, again.extract(t, object["object_id"])); b["status"] != "COMPLETED" {
		t.Errorf("back in a directory: %v", b)
	}
	again.stop(t)
	if out, errs, code := varve(t, "log", "verify", "--data", dsn, "--blobs", bucket); code != 0 || strings.Contains(out, "DAMAGED") {
		t.Errorf("verify in PostgreSQL: status %d: %s%s", code, out, errs)
	}
}

// A sweep lists and removes what no record refers to, once it is a day old, and
// nothing else.
func TestStoreSweep(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	server := start(t, data)
	setUpFiles(t, server)
	object := server.must(t, "POST", "/v1/buckets/files/objects", file("kept"))
	if _, errs, code := varve(t, "store", "sweep", "--store", data); code != 1 || !strings.Contains(errs, "in use by the server") {
		t.Errorf("beside a running server: status %d, %q", code, errs)
	}
	server.stop(t)
	blobs, err := blob.Open(t.Context(), filepath.Join(data, "blobs"), blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lost := map[string]string{}
	for _, scope := range []string{"org_lost", "log", "segments"} { // the last is none of what is swept
		ref, err := blobs.Put(t.Context(), scope, strings.NewReader("nobody refers to this"))
		if err != nil {
			t.Fatal(err)
		}
		lost[scope] = ref.Digest
	}
	sweep := func(more ...string) (found, removed int) {
		out, errs, code := varve(t, append([]string{"--json", "store", "sweep", "--store", data}, more...)...)
		var said struct {
			Unreferenced []struct{ Scope string }
			Removed      int
		}
		if err := json.Unmarshal([]byte(out), &said); code != 0 || err != nil {
			t.Fatalf("status %d: %s%s", code, out, errs)
		}
		return len(said.Unreferenced), said.Removed
	}
	if found, removed := sweep("--remove"); found+removed > 0 {
		t.Errorf("of what is young %d and %d are found and removed", found, removed)
	}
	yesterday := time.Now().Add(-25 * time.Hour)
	if err := filepath.WalkDir(filepath.Join(data, "blobs"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chtimes(path, yesterday, yesterday)
	}); err != nil {
		t.Fatal(err)
	}
	if found, removed := sweep(); found != 2 || removed != 0 {
		t.Errorf("without --remove %d and %d are found and removed", found, removed)
	}
	if found, removed := sweep("--remove"); found != 2 || removed != 2 {
		t.Errorf("%d and %d are found and removed", found, removed)
	}
	for scope, digest := range lost {
		if there, err := blobs.Exists(t.Context(), scope, digest); err != nil || there != (scope == "segments") {
			t.Errorf("the blob of %s: %v %v", scope, there, err)
		}
	}
	again := start(t, data)
	again.Key = server.Key
	if b := again.ended(t, again.extract(t, object["object_id"])); b["status"] != "COMPLETED" {
		t.Errorf("%v", b)
	}
	again.stop(t)
}

// The demo with its blobs and big attachments in a bucket: nothing else differs.
func TestDemoOnS3(t *testing.T) {
	location := os.Getenv("VARVE_TEST_S3")
	if location == "" {
		t.Skip("VARVE_TEST_S3 names no bucket: make test starts a server")
	}
	t.Setenv("VARVE_BLOBS", location)
	TestDemo(t)
}
