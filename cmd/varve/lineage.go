package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

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
