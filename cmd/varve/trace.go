package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"
)

type traceCmd struct {
	remote    `embed:""`
	Execution string `arg:"" optional:"" help:"Execution id; none: the newest of the retriever."`
	Retriever string `help:"Retriever, by id or name." default:"search" short:"r"`
}

// Run shows an execution's trace.
func (c traceCmd) Run(ctx context.Context, o output) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	if c.Execution == "" {
		var list struct {
			Results []struct {
				ID string `json:"execution_id"`
			} `json:"results"`
		}
		if err := api.call(ctx, "POST", "/v1/retrievers/"+escape(c.Retriever)+"/executions/list?limit=1", nil, &list); err != nil {
			return err
		}
		if len(list.Results) == 0 {
			return fmt.Errorf("retriever %s was not executed yet: run varve search first", c.Retriever)
		}
		c.Execution = list.Results[0].ID
	}
	return showTrace(ctx, api, o, c.Retriever, c.Execution)
}

type traced struct {
	Record struct {
		Position   uint64          `json:"position"`
		Version    uint64          `json:"retriever_version"`
		Name       string          `json:"retriever_name"`
		Config     string          `json:"config_digest"`
		Inputs     json.RawMessage `json:"inputs"`
		Code       map[string]string
		ResultHash string `json:"result_hash"`
		Duration   int64  `json:"duration_us"`
		Stages     []struct {
			Name, ID, Plan         string
			Input, Output, Dropped int
			Unseen                 int
			Cutoff                 *float32
			FeatureURIs            []string `json:"feature_uris"`
			Duration               int64    `json:"duration_us"`
		}
	}
	Trace struct {
		Stages []struct {
			Name  string
			Lists []struct {
				Name   string
				Scored int
				Cutoff float32
				Hits   []scored
			}
			Kept    []scored
			Dropped []struct {
				scored
				Reason, Detail string
			}
		}
	}
	Documents []answerItem
}

type scored struct {
	ID    string
	Score float32
}

// showTrace prints an execution as a person wants to read it: what was asked,
// then each stage with what it was given, what it kept and what it dropped and why.
func showTrace(ctx context.Context, api *client, o output, retriever, execution string) error {
	var raw json.RawMessage
	path := "/v1/retrievers/" + escape(retriever) + "/executions/" + escape(execution)
	if err := api.call(ctx, "GET", path, nil, &raw); err != nil {
		return err
	}
	var t traced
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("decode trace: %w", err)
	}
	titles := map[string]string{}
	for _, d := range t.Documents {
		titles[d.ID] = clip(strings.TrimSpace(d.Title), 60)
	}
	return o.print(raw, func(w io.Writer) {
		r := t.Record
		fmt.Fprintf(w, "\nTrace of %s\n  %s, version %d, configuration %s\n  inputs %s at position %d, %.1f ms\n", execution, r.Name, r.Version, clip(r.Config, 19), r.Inputs, r.Position, float64(r.Duration)/1000)
		var code []string
		for name, v := range r.Code {
			code = append(code, name+" "+v)
		}
		sort.Strings(code)
		fmt.Fprintf(w, "  code %s\n", strings.Join(code, ", "))
		for i, s := range r.Stages {
			fmt.Fprintf(w, "\n  %d. %s (%s, %s): %d in → %d out, %d dropped, %.1f ms\n", i+1, s.Name, s.ID, s.Plan, s.Input, s.Output, s.Dropped, float64(s.Duration)/1000)
			if i >= len(t.Trace.Stages) {
				continue
			}
			st := t.Trace.Stages[i]
			for _, l := range st.Lists {
				fmt.Fprintf(w, "     search %s: %d documents had a score", l.Name, l.Scored)
				if l.Scored > len(l.Hits) {
					fmt.Fprintf(w, ", %d handed over, the rest below %.4f", len(l.Hits), l.Cutoff)
				}
				fmt.Fprintln(w)
				for rank, hit := range l.Hits[:min(3, len(l.Hits))] {
					fmt.Fprintf(w, "       %2d  %.4f  %s  %s\n", rank+1, hit.Score, hit.ID, titles[hit.ID])
				}
			}
			fmt.Fprintf(w, "     kept\n")
			for rank, k := range st.Kept[:min(5, len(st.Kept))] {
				fmt.Fprintf(w, "       %2d  %.4f  %s  %s\n", rank+1, k.Score, k.ID, titles[k.ID])
			}
			if n := len(st.Kept) - 5; n > 0 {
				fmt.Fprintf(w, "       … %d more\n", n)
			}
			reasons := map[string]int{}
			for _, d := range st.Dropped {
				reasons[d.Reason]++
			}
			for _, reason := range slices.Sorted(maps.Keys(reasons)) {
				fmt.Fprintf(w, "     dropped %d: %s", reasons[reason], reason)
				for _, d := range st.Dropped {
					if d.Reason == reason {
						fmt.Fprintf(w, " (first %s, %.4f%s)", d.ID, d.Score, detail(d.Detail))
						break
					}
				}
				fmt.Fprintln(w)
			}
		}
		fmt.Fprintf(w, "\n  result hash %s\n", r.ResultHash)
	})
}

func detail(s string) string {
	if s == "" {
		return ""
	}
	return ", " + s
}
