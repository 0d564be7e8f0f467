package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

//go:embed demo/cranfield
var cranfield embed.FS

// demoQuery is a question of the collection, with how well each document answers it.
type demoQuery struct {
	ID     string         `json:"id"`
	Text   string         `json:"text"`
	Grades map[string]int `json:"-"`
}

// lines reads a compressed file of the demo, line by line.
func lines(name string, each func(line []byte) error) error {
	b, err := cranfield.ReadFile("demo/cranfield/" + name)
	if err != nil {
		return fmt.Errorf("read demo: %w", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("read demo %s: %w", name, err)
	}
	s := bufio.NewScanner(z)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if err := each(s.Bytes()); err != nil {
			return fmt.Errorf("read demo %s: %w", name, err)
		}
	}
	return s.Err()
}

func demoQueries() ([]demoQuery, error) {
	var queries []demoQuery
	byID := map[string]int{}
	err := lines("queries.jsonl.gz", func(line []byte) error {
		q := demoQuery{Grades: map[string]int{}}
		if err := json.Unmarshal(line, &q); err != nil {
			return err
		}
		byID[q.ID] = len(queries)
		queries = append(queries, q)
		return nil
	})
	if err != nil {
		return nil, err
	}
	first := true
	return queries, lines("qrels.tsv.gz", func(line []byte) error {
		if first {
			first = false
			return nil
		}
		f := strings.Split(string(line), "\t")
		if len(f) != 3 {
			return fmt.Errorf("%q has not three columns", line)
		}
		grade, err := strconv.Atoi(f[2])
		if err != nil {
			return err
		}
		if i, ok := byID[f[0]]; ok {
			queries[i].Grades[f[1]] = grade
		}
		return nil
	})
}

type demoCmd struct {
	remote   `embed:""`
	Evaluate bool `help:"Run all 225 queries with every retriever and print their quality and latency."`
}

const (
	demoNamespace  = "cranfield"
	demoBucket     = "abstracts"
	demoCollection = "abstracts"
	demoDense      = "mixpeek://text_extractor@v1/embedding"
	demoSparse     = "mixpeek://text_extractor@v1/bm25"
)

// demoRetrievers are made in this order; the first is the default, the best measured.
var demoRetrievers = []struct {
	name, description string
	stages            []any
}{
	{"search", "BM25 and embeddings, min-max scores summed with weights 0.6 and 0.4: the best measured on this collection", searchStage("weighted", true, 0.6, 0.4)},
	{"bm25", "Words alone", searchStage("", false, 1, 0)},
	{"dense", "Embeddings alone", searchStage("", false, 0, 1)},
	{"rrf", "BM25 and embeddings by reciprocal rank", searchStage("rrf", false, 1, 1)},
}

// searchStage is one feature_search over words and embeddings, each with a weight; 0 leaves one out.
func searchStage(fusion string, minmax bool, sparse, dense float64) []any {
	var searches []any
	for _, s := range []struct {
		uri    string
		weight float64
	}{{demoSparse, sparse}, {demoDense, dense}} {
		if s.weight > 0 {
			searches = append(searches, map[string]any{"feature_uri": s.uri, "query": map[string]any{"input_mode": "text", "value": "{{INPUT.query}}"}, "top_k": 300, "weight": s.weight})
		}
	}
	params := map[string]any{"searches": searches, "final_top_k": 100}
	if fusion != "" {
		params["fusion"] = fusion
	}
	if minmax {
		params["normalization"] = "min_max"
	}
	return []any{map[string]any{"stage_name": "search", "stage_type": "filter", "config": map[string]any{"stage_id": "feature_search", "parameters": params}}}
}

// Run loads the collection into the server and shows what can be done with it.
// Running it again changes nothing.
func (c demoCmd) Run(ctx context.Context, o output) error {
	c.Namespace = demoNamespace
	api, err := c.client()
	if err != nil {
		return err
	}
	if err := demoSetUp(ctx, api); err != nil {
		return err
	}
	if err := demoIngest(ctx, api, o); err != nil {
		return err
	}
	if c.Evaluate {
		return evaluate(ctx, api, o)
	}
	return demoTour(ctx, api, o)
}

// exists accepts that a thing was made before.
func exists(err error) error {
	var refused *apiError
	if errors.As(err, &refused) && refused.Status == 409 {
		return nil
	}
	return err
}

func demoSetUp(ctx context.Context, api *client) error {
	steps := []struct {
		path string
		body any
	}{
		{"/v1/namespaces", map[string]any{"namespace_name": demoNamespace, "description": "The Cranfield collection: 1,400 abstracts on aerodynamics, 225 queries, graded judgements"}},
		{"/v1/buckets", map[string]any{"bucket_name": demoBucket, "description": "One object an abstract", "unique_key": map[string]any{"fields": []string{"number"}, "default_policy": "upsert"},
			"bucket_schema": map[string]any{"properties": map[string]any{
				"number": field("string", true), "title": field("text", false), "author": field("string", false), "bibliography": field("string", false), "text": field("text", true)}}}},
		{"/v1/collections", map[string]any{"collection_name": demoCollection, "description": "Title and text of every abstract, as one document",
			"source": map[string]any{"type": "bucket", "bucket_ids": []string{demoBucket}},
			"feature_extractor": map[string]any{"feature_extractor_name": "text_extractor", "version": "v1", "input_mappings": map[string]any{"text": []string{"title", "text"}},
				"field_passthrough": []any{"number", "title", "author", "bibliography"}, "parameters": map[string]any{"extractor_type": "text_extractor", "split_by": "none"}}}},
	}
	for _, r := range demoRetrievers {
		steps = append(steps, struct {
			path string
			body any
		}{"/v1/retrievers", map[string]any{"retriever_name": r.name, "description": r.description, "collection_identifiers": []string{demoCollection}, "stages": r.stages,
			"input_schema": map[string]any{"query": map[string]any{"type": "string", "required": true, "description": "what to look for"}}}})
	}
	for i, s := range steps {
		one := *api
		if i == 0 {
			one.Namespace = ""
		}
		if err := exists(one.call(ctx, "POST", s.path, s.body, nil)); err != nil {
			return fmt.Errorf("set up the demo: %w", err)
		}
	}
	return nil
}

func field(kind string, required bool) map[string]any {
	return map[string]any{"type": kind, "required": required}
}

// demoIngest writes the abstracts that are not there yet and extracts them.
func demoIngest(ctx context.Context, api *client, o output) error {
	var count struct {
		Count int `json:"count"`
	}
	if err := api.call(ctx, "GET", "/v1/collections/"+demoCollection+"/documents/count", nil, &count); err != nil {
		return err
	}
	var objects []map[string]any
	texts := 0 // two abstracts are empty: they fail alone, with their reason
	err := lines("docs.jsonl.gz", func(line []byte) error {
		var d map[string]any
		if err := json.Unmarshal(line, &d); err != nil {
			return err
		}
		if d["text"] != "" || d["title"] != "" {
			texts++
		}
		d["number"] = d["id"]
		delete(d, "id")
		objects = append(objects, d)
		return nil
	})
	if err != nil || count.Count >= texts {
		return err
	}
	return ingest(ctx, api, o, demoBucket, objects)
}

// demoTour asks a few questions and shows one trace and one lineage.
func demoTour(ctx context.Context, api *client, o output) error {
	queries, err := demoQueries()
	if err != nil {
		return err
	}
	var last answer
	for _, i := range []int{0, 7, 40} {
		if last, err = search(ctx, api, "search", queries[i].Text, 3); err != nil {
			return err
		}
		if !o.json {
			last.show(o, queries[i].Text)
		}
	}
	if o.json {
		return o.print(map[string]any{"namespace": demoNamespace, "retriever": "search", "execution_id": last.ExecutionID}, nil)
	}
	if err := showTrace(ctx, api, o, "search", last.ExecutionID); err != nil {
		return err
	}
	if len(last.Documents) == 0 {
		return nil
	}
	fmt.Fprintln(o)
	return showLineage(ctx, api, o, last.Documents[0].ID)
}
