package serve_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/cmd/varve/serve"
)

// Nothing that a server logs, shows in metrics or gives as an error holds a key, a
// password or what a request carried.
func TestNoSecretsInLogs(t *testing.T) {
	_, address := broker(t)
	name := filepath.Join(t.TempDir(), "stderr")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	before := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = before }()
	const inQuery, inHeader, inBody, password = "secret-in-a-query", "secret-in-a-header", "secret-in-a-body", "pa55word-of-a-server"

	var key, metrics string
	t.Run("run", func(t *testing.T) {
		r := serving(t, func(c *serve.Config) { c.LogLevel, c.LogFormat, c.Bus = "debug", "json", "kafka://"+address })
		key = r.key
		r.namespace(t, "logged")
		r.ask(t, "GET", "/v1/buckets?api_key="+inQuery, "", "X-Namespace", "logged", "Cookie", inHeader, "X-Api-Key", inHeader)
		r.ask(t, "POST", "/v1/buckets", `{"bucket_name":"b","bucket_schema":{"properties":{}},"description":"`+inBody+`"}`, "X-Namespace", "logged")
		r.ask(t, "POST", "/v1/buckets", `{"bucket_name":`+inBody, "X-Namespace", "logged")
		r.ask(t, "GET", "/v1/buckets", "", "Authorization", "Bearer "+inHeader)
		_, metrics = r.ask(t, "GET", "/metrics", "")
	})
	var errs []string
	for _, c := range []serve.Config{
		{Store: "postgres://varve:" + password + "@127.0.0.1:1/varve?connect_timeout=1"},
		{Store: "mysql://varve:" + password + "@127.0.0.1:1/varve"},
		{Bus: "kafka://varve:" + password + "@127.0.0.1:1?sasl=plain"},
		{Bus: "kafka://varve:" + password + "%@127.0.0.1:1"},
		{Blobs: "s4://user:" + password + "@bucket"},
	} {
		c.Data, c.LogLevel, c.LogFormat = t.TempDir(), "debug", "text"
		v, err := serve.Open(t.Context(), c)
		if err == nil {
			_ = v.Close()
			t.Errorf("opened with %+v", c)
			continue
		}
		errs = append(errs, err.Error())
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	logged, requests := string(text), 0
	for line := range strings.Lines(logged) {
		var l struct {
			Msg, Operation string
			RequestID      string `json:"request_id"`
		}
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "request" {
			requests++
			if l.RequestID == "" {
				t.Errorf("no request id: %s", line)
			}
		}
	}
	if requests < 5 {
		t.Fatalf("%d requests are logged: %s", requests, logged)
	}
	for where, text := range map[string]string{"log": logged, "metrics": metrics, "errors": strings.Join(errs, "\n")} {
		for _, secret := range []string{key, key[len(key)-12:], inQuery, inHeader, inBody, password} {
			if strings.Contains(text, secret) {
				t.Errorf("the %s hold %s: %s", where, secret, text)
			}
		}
	}
}
