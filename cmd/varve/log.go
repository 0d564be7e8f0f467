package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"varve/cmd/varve/serve"
)

type logCmd struct {
	Verify verifyCmd `cmd:"" help:"Recompute the hash chains of every log. Without a running server, of a directory; else through the server."`
	Tail   tailCmd   `cmd:"" help:"Print the records of a log as they come."`
}

type verifyCmd struct {
	Data string `help:"Directory to verify; empty: ask the server." env:"VARVE_DATA" type:"path"`
	URL  string `help:"Address of the server." default:"http://127.0.0.1:8080" env:"VARVE_URL"`
	Key  string `help:"API key of an administrator." env:"VARVE_KEY"`
}

// verified is what verifying one log found.
type verified struct {
	Log     string `json:"log"`
	Records int    `json:"records"`
	Erased  int    `json:"erased"`
	OK      bool   `json:"ok"`
	Last    uint64 `json:"last_position"`
	Hash    string `json:"hash"`
	Bad     uint64 `json:"bad_position,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// Run fails where a log is not what was written.
func (c verifyCmd) Run(ctx context.Context, o output) error {
	began := time.Now()
	logs, err := c.verify(ctx)
	if err != nil {
		return err
	}
	bad, records := 0, 0
	for _, l := range logs {
		records += l.Records
		if !l.OK {
			bad++
		}
	}
	took := time.Since(began)
	err = o.print(map[string]any{"ok": bad == 0, "logs": logs, "records": records, "seconds": took.Seconds()}, func(w io.Writer) {
		for _, l := range logs {
			if l.OK {
				fmt.Fprintf(w, "ok       %-24s %8d records, %d erased, head %s\n", l.Log, l.Records, l.Erased, clip(l.Hash, 17))
				continue
			}
			fmt.Fprintf(w, "DAMAGED  %-24s at position %d: %s\n", l.Log, l.Bad, l.Reason)
		}
		fmt.Fprintf(w, "%d records of %d logs in %s (%.0f records/s)\n", records, len(logs), took.Round(time.Millisecond), float64(records)/took.Seconds())
	})
	if err == nil && bad > 0 {
		err = fmt.Errorf("%d of %d logs are damaged: restore the directory from a backup; what came before the named positions is whole", bad, len(logs))
	}
	return err
}

func (c verifyCmd) verify(ctx context.Context) ([]verified, error) {
	if c.Data != "" {
		reports, err := serve.Verify(ctx, c.Data)
		var locked *serve.LockedError
		if !errors.As(err, &locked) || c.Key == "" {
			var logs []verified
			for _, r := range reports {
				logs = append(logs, verified{string(r.Log), r.Records, r.Erased, r.OK(), r.Last, hex.EncodeToString(r.Hash[:]), r.Bad, r.Reason})
			}
			return logs, err
		}
		if locked.Address != "" {
			c.URL = locked.Address
		}
	}
	api, err := remote{URL: c.URL, Key: c.Key}.client()
	if err != nil {
		return nil, err
	}
	var answer struct {
		Logs []verified `json:"logs"`
	}
	return answer.Logs, api.call(ctx, "POST", "/v1/log/verify", nil, &answer)
}

type tailCmd struct {
	remote       `embed:""`
	After        uint64 `help:"Position after which to begin."`
	Follow       bool   `help:"Wait for more." short:"f"`
	Organization bool   `help:"The organization's log instead of the namespace's."`
}

type tailRecord struct {
	Position uint64          `json:"position"`
	Stream   string          `json:"stream"`
	Version  uint64          `json:"version"`
	Type     string          `json:"type"`
	Time     time.Time       `json:"time"`
	Data     json.RawMessage `json:"data"`
	Metadata map[string]any  `json:"metadata"`
	Hash     string          `json:"hash"`
}

// Run prints one line a record; with --json, one JSON object a line.
func (c tailCmd) Run(ctx context.Context, o output) error {
	if c.Organization {
		c.Namespace = ""
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	wait := 0
	for {
		var page struct {
			Records []json.RawMessage `json:"records"`
			Next    uint64            `json:"next"`
		}
		if err := api.call(ctx, "GET", fmt.Sprintf("/v1/log?after=%d&limit=500&wait=%d", c.After, wait), nil, &page); err != nil {
			return err
		}
		for _, raw := range page.Records {
			if o.json {
				fmt.Fprintf(o, "%s\n", raw)
				continue
			}
			var r tailRecord
			if err := json.Unmarshal(raw, &r); err != nil {
				return fmt.Errorf("decode record: %w", err)
			}
			fmt.Fprintf(o, "%8d  %s  %-22s %s@%d  %s  %s\n", r.Position, r.Time.Format("15:04:05.000000"), r.Type, r.Stream, r.Version, r.Metadata["actor"], clip(string(r.Data), 80))
		}
		c.After = page.Next
		if len(page.Records) == 0 {
			if !c.Follow {
				return nil
			}
			wait = 30
		}
	}
}

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
	req, err := http.NewRequestWithContext(ctx, "POST", strings.TrimRight(c.URL, "/")+"/v1/models/"+escape(c.Model)+"/rebuild", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.Key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no answer from %s: is varve serve running there? (%w)", c.URL, err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		b, _ := io.ReadAll(res.Body)
		return fmt.Errorf("rebuild %s: %s", c.Model, strings.TrimSpace(string(b)))
	}
	began := time.Now()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		var p struct {
			Done, Total uint64
			Rate        float64
			Error       string
			Finished    bool
		}
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return fmt.Errorf("decode progress: %w", err)
		}
		switch {
		case p.Error != "":
			return fmt.Errorf("rebuild %s: %s", c.Model, p.Error)
		case o.json:
			fmt.Fprintf(o, "%s\n", lines.Bytes())
		case p.Finished:
			fmt.Fprintf(o, "%s was rebuilt in %s\n", c.Model, time.Since(began).Round(time.Millisecond))
		case p.Rate > 0:
			left := time.Duration(float64(p.Total-min(p.Done, p.Total)) / p.Rate * float64(time.Second))
			fmt.Fprintf(o.errors, "%d of %d events, %.0f/s, %s left\n", p.Done, p.Total, p.Rate, left.Round(time.Second))
		}
	}
	return lines.Err()
}
