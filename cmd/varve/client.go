package main

import (
	"bufio"
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
	res, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("read answer of %s %s: %w", method, path, err)
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

// stream sends a request and gives the lines of its answer as they come, however long that takes.
func (c *client) stream(ctx context.Context, method, path string, line func([]byte) error) error {
	patient := *c
	patient.http.Timeout = 0
	res, err := patient.send(ctx, method, path, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if err := line(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read answer of %s %s: %w", method, path, err)
	}
	return nil
}

// send gives the answer to a request, which the caller closes, or an *apiError.
func (c *client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.URL, "/")+path, reader)
	if err != nil {
		return nil, fmt.Errorf("address of the server: %w", err)
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
		return nil, fmt.Errorf("no answer from %s: is varve serve running there? (%w)", c.URL, err)
	}
	if res.StatusCode < 400 {
		return res, nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("read answer of %s %s: %w", method, path, err)
	}
	var e struct {
		Error     struct{ Message, Type string }
		RequestID string `json:"request_id"`
	}
	_ = json.Unmarshal(b, &e)
	if e.Error.Message == "" {
		e.Error.Message = strings.TrimSpace(string(b))
	}
	return nil, &apiError{res.StatusCode, e.Error.Message, e.Error.Type, e.RequestID}
}

func escape(segment string) string { return url.PathEscape(segment) }
