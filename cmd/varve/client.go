package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// remote says which server a verb talks to.
type remote struct {
	URL       string `help:"Address of the server." default:"http://127.0.0.1:8080" env:"VARVE_URL"`
	Key       string `help:"API key." env:"VARVE_KEY"`
	Namespace string `help:"Namespace, by id or name." short:"n" default:"cranfield" env:"VARVE_NAMESPACE"`
}

// client speaks the public API.
type client struct {
	remote
	http http.Client
}

func (r remote) client() (*client, error) {
	if r.Key == "" {
		return nil, fmt.Errorf("no API key: set VARVE_KEY or pass --key (varve init and the first varve serve print one)")
	}
	return &client{remote: r, http: http.Client{Timeout: 5 * time.Minute}}, nil
}

// apiError is a refusal of the server.
type apiError struct {
	Status  int
	Message string
	Type    string
	Request string
}

func (e *apiError) Error() string {
	s := fmt.Sprintf("%s (%d %s", e.Message, e.Status, e.Type)
	if e.Request != "" {
		s += ", request " + e.Request
	}
	return s + ")"
}

// call sends a request and decodes the answer into out (nil: dropped).
func (c *client) call(ctx context.Context, method, path string, body, out any) error {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.URL, "/")+path, reader)
	if err != nil {
		return fmt.Errorf("address of the server: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Key)
	if c.Namespace != "" {
		req.Header.Set("X-Namespace", c.Namespace)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("no answer from %s: is varve serve running there? (%w)", c.URL, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("read answer of %s %s: %w", method, path, err)
	}
	if res.StatusCode >= 400 {
		var e struct {
			Error     struct{ Message, Type string }
			RequestID string `json:"request_id"`
		}
		_ = json.Unmarshal(b, &e)
		if e.Error.Message == "" {
			e.Error.Message = strings.TrimSpace(string(b))
		}
		return &apiError{res.StatusCode, e.Error.Message, e.Error.Type, e.RequestID}
	}
	if raw, ok := out.(*json.RawMessage); ok {
		*raw = b
		return nil
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("decode answer of %s %s: %w", method, path, err)
	}
	return nil
}

func escape(segment string) string { return url.PathEscape(segment) }
