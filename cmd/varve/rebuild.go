package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

type rebuildCmd struct {
	URL   string `help:"Address of the server." default:"http://127.0.0.1:8080" env:"VARVE_URL"`
	Key   string `help:"API key of an administrator." env:"VARVE_KEY"`
	Model string `arg:"" optional:"" help:"Read model; none: list them."`
}

// Run builds a read model anew while the old one serves, with progress.
func (c rebuildCmd) Run(ctx context.Context, o output) error {
	api, err := remote{URL: c.URL, Key: c.Key}.client()
	if err != nil {
		return err
	}
	if c.Model == "" {
		var list struct {
			Models []struct {
				Model         string `json:"model"`
				Applied, Head uint64
				Lag           uint64
				Error         string
			} `json:"models"`
		}
		if err := api.call(ctx, "GET", "/v1/models", nil, &list); err != nil {
			return err
		}
		return o.print(list, func(w io.Writer) {
			for _, m := range list.Models {
				fmt.Fprintf(w, "%-12s applied %d of %d, lag %d  %s\n", m.Model, m.Applied, m.Head, m.Lag, m.Error)
			}
		})
	}
	began := time.Now()
	return api.stream(ctx, "POST", "/v1/models/"+escape(c.Model)+"/rebuild", func(line []byte) error {
		var p struct {
			Done, Total uint64
			Rate        float64
			Error       string
			Finished    bool
		}
		if err := json.Unmarshal(line, &p); err != nil {
			return fmt.Errorf("decode progress: %w", err)
		}
		switch {
		case p.Error != "":
			return fmt.Errorf("rebuild %s: %s", c.Model, p.Error)
		case o.json:
			fmt.Fprintf(o, "%s\n", line)
		case p.Finished:
			fmt.Fprintf(o, "%s was rebuilt in %s\n", c.Model, time.Since(began).Round(time.Millisecond))
		case p.Rate > 0:
			left := time.Duration(float64(p.Total-min(p.Done, p.Total)) / p.Rate * float64(time.Second))
			fmt.Fprintf(o.errors, "%d of %d events, %.0f/s, %s left\n", p.Done, p.Total, p.Rate, left.Round(time.Second))
		}
		return nil
	})
}
