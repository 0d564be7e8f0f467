package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"
)

type healthCmd struct {
	URL string `help:"Address of the server." default:"http://127.0.0.1:8080" env:"VARVE_URL"`
}

// Run asks whether a server is ready for requests, and of each thing it needs
// whether it answers; a server that is not ready is an error, which names what
// is missing. Containers without a shell are checked by it.
func (c healthCmd) Run(ctx context.Context, o output) error {
	api := &client{remote: remote{URL: c.URL}, http: http.Client{Timeout: 10 * time.Second}}
	var a struct {
		Status       string `json:"status"`
		Version      string `json:"version"`
		Dependencies map[string]struct {
			OK      bool    `json:"ok"`
			Latency float64 `json:"latency_ms"`
			Reason  string  `json:"reason,omitempty"`
		} `json:"dependencies"`
	}
	if err := api.call(ctx, "GET", "/v1/health/ready", nil, &a); err != nil {
		return err
	}
	return o.print(a, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s\n", a.Status, a.Version)
		for _, name := range slices.Sorted(maps.Keys(a.Dependencies)) {
			d := a.Dependencies[name]
			fmt.Fprintf(w, "  %-20s %-5t %.1f ms %s\n", name, d.OK, d.Latency, d.Reason)
		}
	})
}
