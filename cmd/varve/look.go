package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
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
			for _, reason := range sortedNames(reasons) {
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

func sortedNames(m map[string]int) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

type lineageCmd struct {
	remote `embed:""`
	ID     string `arg:"" help:"A document (doc_…) or an object (obj_…)."`
}

// Run shows where a document came from, or what came from an object.
func (c lineageCmd) Run(ctx context.Context, o output) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	if strings.HasPrefix(c.ID, "obj_") {
		return showDerived(ctx, api, o, c.ID)
	}
	return showLineage(ctx, api, o, c.ID)
}

// lineageTree is what the server tells of an object and what came from it.
type lineageTree struct {
	Object struct {
		ID       string `json:"object_id"`
		Bucket   string `json:"bucket_name"`
		Position uint64 `json:"position"`
		Version  uint64 `json:"version"`
		Exists   bool   `json:"exists"`
	} `json:"object"`
	Batches []struct {
		ID        string         `json:"batch_id"`
		Status    string         `json:"status"`
		Documents []treeDocument `json:"documents"`
	} `json:"batches"`
}

// treeDocument is a document with its features and the documents made of it.
type treeDocument struct {
	ID         string `json:"document_id"`
	Collection string `json:"collection_name"`
	Extractor  string `json:"feature_extractor_id"`
	Position   uint64 `json:"position"`
	Version    uint64 `json:"version"`
	Requested  bool   `json:"is_requested"`
	Features   []struct {
		URI  string `json:"uri"`
		Kind string `json:"kind"`
		Dims int    `json:"dims"`
	} `json:"features"`
	Children []treeDocument `json:"children"`
}

// branch is a line of a printed tree with what hangs below it.
type branch struct {
	text  string
	below []branch
}

func (b branch) show(w io.Writer, indent string, last bool) {
	joint, next := "├─ ", indent+"│  "
	if last {
		joint, next = "└─ ", indent+"   "
	}
	fmt.Fprintf(w, "%s%s%s\n", indent, joint, b.text)
	for i, child := range b.below {
		child.show(w, next, i == len(b.below)-1)
	}
}

func (d treeDocument) branch() branch {
	b := branch{text: fmt.Sprintf("document %s in %s, by %s, version %d @%d", d.ID, d.Collection, d.Extractor, d.Version, d.Position)}
	if d.Requested {
		b.text += "  ◀"
	}
	for _, f := range d.Features {
		text := fmt.Sprintf("feature %s (%s", f.URI, f.Kind)
		if f.Dims > 0 {
			text += fmt.Sprintf(", %d dimensions", f.Dims)
		}
		b.below = append(b.below, branch{text: text + ")"})
	}
	for _, child := range d.Children {
		b.below = append(b.below, child.branch())
	}
	return b
}

func (t lineageTree) branch() branch {
	root := branch{text: fmt.Sprintf("object %s in bucket %s, version %d @%d", t.Object.ID, t.Object.Bucket, t.Object.Version, t.Object.Position)}
	if !t.Object.Exists {
		root.text += " (deleted)"
	}
	for _, batch := range t.Batches {
		b := branch{text: fmt.Sprintf("batch %s, %s", batch.ID, batch.Status)}
		for _, d := range batch.Documents {
			b.below = append(b.below, d.branch())
		}
		root.below = append(root.below, b)
	}
	return root
}

func showLineage(ctx context.Context, api *client, o output, document string) error {
	return showTree(ctx, api, o, "/v1/documents/"+escape(document)+"/lineage", "Lineage of "+document)
}

func showDerived(ctx context.Context, api *client, o output, object string) error {
	return showTree(ctx, api, o, "/v1/objects/"+escape(object)+"/derived", "Derived from "+object)
}

func showTree(ctx context.Context, api *client, o output, path, title string) error {
	var raw json.RawMessage
	if err := api.call(ctx, "GET", path, nil, &raw); err != nil {
		return err
	}
	var l struct {
		Tree    *lineageTree `json:"tree"`
		Message string       `json:"message"`
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		return fmt.Errorf("decode lineage: %w", err)
	}
	return o.print(raw, func(w io.Writer) {
		fmt.Fprintln(w, title)
		if l.Tree == nil {
			fmt.Fprintln(w, "  "+l.Message)
			return
		}
		l.Tree.branch().show(w, "  ", true)
	})
}
