package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

type searchCmd struct {
	remote    `embed:""`
	Query     string `arg:"" help:"What to look for: the input named query."`
	Retriever string `help:"Retriever, by id or name." default:"search" short:"r"`
	Limit     int    `help:"Most documents to show." default:"10"`
}

// Run executes a retriever and shows its answer.
func (c searchCmd) Run(ctx context.Context, o output) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	a, err := search(ctx, api, c.Retriever, c.Query, c.Limit)
	if err != nil {
		return err
	}
	return o.print(a.raw, func(w io.Writer) { a.show(w, c.Query) })
}

// answer is what execute gives, as the command line reads it.
type answer struct {
	ExecutionID string         `json:"execution_id"`
	Position    uint64         `json:"position"`
	ResultHash  string         `json:"result_hash"`
	Documents   []answerItem   `json:"documents"`
	Total       int            `json:"total"`
	Warnings    []string       `json:"warnings"`
	Statistics  map[string]any `json:"stage_statistics"`
	took        time.Duration
	raw         json.RawMessage
}

type answerItem struct {
	ID     string  `json:"document_id"`
	Score  float64 `json:"score"`
	Title  string  `json:"title"`
	Author string  `json:"author"`
	Text   string  `json:"text"`
	Number string  `json:"number"`
}

func search(ctx context.Context, api *client, retriever, query string, limit int) (answer, error) {
	began := time.Now()
	var raw json.RawMessage
	err := api.call(ctx, "POST", "/v1/retrievers/"+escape(retriever)+"/execute", map[string]any{"inputs": map[string]any{"query": query}, "limit": limit}, &raw)
	a := answer{took: time.Since(began), raw: raw}
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(raw, &a)
}

func (a answer) show(w io.Writer, query string) {
	fmt.Fprintf(w, "\n“%s”\n", query)
	for i, d := range a.Documents {
		title := strings.TrimSuffix(strings.TrimSpace(d.Title), ".")
		if title == "" {
			title = clip(d.Text, 70)
		}
		fmt.Fprintf(w, "  %2d  %.4f  %s\n      %s\n", i+1, d.Score, clip(title, 90), d.ID)
	}
	for _, warning := range a.Warnings {
		fmt.Fprintf(w, "  ! %s\n", warning)
	}
	fmt.Fprintf(w, "  %d found in %s, execution %s at position %d\n", a.Total, a.took.Round(100*time.Microsecond), a.ExecutionID, a.Position)
}
