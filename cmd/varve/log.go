package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"varve/cmd/varve/serve"
)

type logCmd struct {
	Verify verifyCmd `cmd:"" help:"Recompute the hash chains of every log. Without a running server, of a directory; else through the server."`
	Sign   signCmd   `cmd:"" help:"Sign the newest position of every log of a directory or database, for log verify to hold against it later. Keep the file elsewhere."`
	Tail   tailCmd   `cmd:"" help:"Print the records of a log as they come."`
}

type verifyCmd struct {
	Data        string `help:"What to verify: a directory, or postgres://user@host/database; empty: ask the server." env:"VARVE_DATA"`
	Blobs       string `help:"Where its blobs are: a directory, or s3://bucket; empty: in the directory." env:"VARVE_BLOBS"`
	Checkpoints string `help:"File that log sign wrote: a log that ends before it, or was written anew, is told." type:"existingfile"`
	SignedBy    string `help:"File of the key that signed it, or of its public half." type:"existingfile"`
	URL         string `help:"Address of the server." default:"http://127.0.0.1:8080" env:"VARVE_URL"`
	Key         string `help:"API key of an administrator." env:"VARVE_KEY"`
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
		signed, key, err := c.checkpoints()
		if err != nil {
			return nil, err
		}
		reports, err := serve.Verify(ctx, serve.Place{Store: c.Data, Blobs: c.Blobs}, signed, key)
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
	if c.Checkpoints != "" {
		return nil, errors.New("--checkpoints are held against what lies in --data while no server uses it: stop the server, or leave them out")
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
