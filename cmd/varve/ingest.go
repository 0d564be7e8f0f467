package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
)

type ingestCmd struct {
	remote     `embed:""`
	Path       string `arg:"" help:"A directory of text files, or a .jsonl file of objects." type:"existingpath"`
	Bucket     string `help:"Bucket to write into, by id or name; made where it is missing." default:"files" short:"b"`
	Collection string `help:"Collection that extracts the bucket; made where it is missing." default:"files" short:"c"`
}

// Run writes what the path holds into a bucket, 100 objects a request, and
// extracts it, with progress. Names of files become unique keys, so that
// running it again changes what changed.
func (c ingestCmd) Run(ctx context.Context, o output) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	objects, err := readObjects(c.Path)
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		return fmt.Errorf("%s holds nothing to ingest: no line, or no text file", c.Path)
	}
	namespace := *api
	namespace.Namespace = ""
	if err := exists(namespace.call(ctx, "POST", "/v1/namespaces", map[string]any{"namespace_name": c.Namespace}, nil)); err != nil {
		return err
	}
	properties := map[string]any{"path": field("string", true), "text": field("text", false)}
	for _, object := range objects {
		for name, v := range object {
			if _, known := properties[name]; !known {
				properties[name] = field(kindOf(v), false)
			}
		}
	}
	if err := exists(api.call(ctx, "POST", "/v1/buckets", map[string]any{"bucket_name": c.Bucket, "unique_key": map[string]any{"fields": []string{"path"}, "default_policy": "upsert"},
		"bucket_schema": map[string]any{"properties": properties}}, nil)); err != nil {
		return err
	}
	if err := exists(api.call(ctx, "POST", "/v1/collections", map[string]any{"collection_name": c.Collection, "source": map[string]any{"type": "bucket", "bucket_ids": []string{c.Bucket}},
		"feature_extractor": map[string]any{"feature_extractor_name": "text_extractor", "version": "v1", "input_mappings": map[string]any{"text": "text"}, "field_passthrough": []string{"path", "title"},
			"parameters": map[string]any{"extractor_type": "text_extractor", "split_by": "paragraphs", "chunk_size": 5}}}, nil)); err != nil {
		return err
	}
	return ingest(ctx, api, o, c.Bucket, objects)
}

func kindOf(v any) string {
	switch v.(type) {
	case float64, json.Number:
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "string"
}

// readObjects reads the lines of a .jsonl file, or the text files below a
// directory, as objects with path and text.
func readObjects(path string) ([]map[string]any, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return readLines(path)
	}
	var objects []map[string]any
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if !utf8.Valid(b) || bytes.ContainsRune(b, 0) || len(b) == 0 {
			return nil // not a text
		}
		name, err := filepath.Rel(path, p)
		objects = append(objects, map[string]any{"path": filepath.ToSlash(name), "text": string(b)})
		return err
	})
	return objects, err
}

func readLines(path string) ([]map[string]any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var objects []map[string]any
	s := bufio.NewScanner(f)
	s.Buffer(nil, 16<<20)
	for n := 1; s.Scan(); n++ {
		if len(strings.TrimSpace(s.Text())) == 0 {
			continue
		}
		d := json.NewDecoder(strings.NewReader(s.Text()))
		d.UseNumber()
		var object map[string]any
		if err := d.Decode(&object); err != nil {
			return nil, fmt.Errorf("%s, line %d is not a JSON object: %w", path, n, err)
		}
		if _, ok := object["path"]; !ok {
			object["path"] = fmt.Sprintf("%s#%d", filepath.Base(path), n)
			if id, ok := object["id"].(string); ok {
				object["path"] = id
			}
		}
		objects = append(objects, object)
	}
	return objects, s.Err()
}

// ingest writes objects in hundreds, then runs a batch of them and waits for it.
func ingest(ctx context.Context, api *client, o output, bucket string, objects []map[string]any) error {
	began := time.Now()
	var ids []string
	var refused []string
	bar := progress(o, len(objects), "writing objects")
	for from := 0; from < len(objects); from += 100 {
		var made struct {
			Succeeded []struct {
				ID string `json:"object_id"`
			} `json:"succeeded"`
			Failed []struct {
				Index int    `json:"object_index"`
				Error string `json:"error"`
			} `json:"failed"`
		}
		part := objects[from:min(from+100, len(objects))]
		if err := api.call(ctx, "POST", "/v1/buckets/"+escape(bucket)+"/objects/batch", map[string]any{"objects": part}, &made); err != nil {
			return err
		}
		for _, s := range made.Succeeded {
			ids = append(ids, s.ID)
		}
		for _, f := range made.Failed {
			refused = append(refused, fmt.Sprintf("object %d: %s", from+f.Index+1, f.Error))
		}
		_ = bar.Add(len(part))
	}
	_ = bar.Finish()
	if len(ids) == 0 {
		return fmt.Errorf("no object was accepted; the first refusal: %s", refused[0])
	}
	var batch struct {
		ID string `json:"batch_id"`
	}
	path := "/v1/buckets/" + escape(bucket) + "/batches"
	if err := api.call(ctx, "POST", path, map[string]any{"object_ids": ids}, &batch); err != nil {
		return err
	}
	if err := api.call(ctx, "POST", path+"/"+batch.ID+"/submit", nil, nil); err != nil {
		return err
	}
	done, err := await(ctx, api, o, path+"/"+batch.ID, len(ids))
	if err != nil {
		return err
	}
	took := time.Since(began)
	return o.print(map[string]any{"batch_id": batch.ID, "status": done.Status, "objects": len(ids), "documents": done.Documents, "failed": done.Failed, "refused": refused, "seconds": took.Seconds()}, func(w io.Writer) {
		fmt.Fprintf(w, "%d objects became %d documents in %s (%.0f objects/s); %d failed, %d refused\n", len(ids), done.Documents, took.Round(time.Millisecond), float64(len(ids))/took.Seconds(), done.Failed, len(refused))
		for _, r := range refused[:min(5, len(refused))] {
			fmt.Fprintln(w, "  refused:", r)
		}
		for _, f := range done.FailedObjects[:min(5, len(done.FailedObjects))] {
			fmt.Fprintf(w, "  failed: %s: %s\n", f.ID, f.Error)
		}
	})
}

// batchState is what the command line reads of a batch.
type batchState struct {
	Status        string `json:"status"`
	Processed     int    `json:"processed_object_count"`
	Failed        int    `json:"failed_object_count"`
	Documents     int    `json:"documents_written"`
	FailedObjects []struct {
		ID    string `json:"object_id"`
		Error string `json:"error"`
	} `json:"failed_objects"`
}

// await polls a batch until it ends, and shows its progress.
func await(ctx context.Context, api *client, o output, path string, objects int) (batchState, error) {
	bar := progress(o, objects, "extracting")
	defer func() { _ = bar.Finish() }()
	wait := 20 * time.Millisecond
	for {
		var b batchState
		if err := api.call(ctx, "GET", path, nil, &b); err != nil {
			return b, err
		}
		_ = bar.Set(b.Processed)
		switch b.Status {
		case "COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELED":
			return b, nil
		}
		select {
		case <-ctx.Done():
			return b, ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, 500*time.Millisecond)
	}
}

// progress shows rate, done and time left on standard error, where that is a terminal.
func progress(o output, total int, what string) *progressbar.ProgressBar {
	f, ok := o.errors.(*os.File)
	terminal := ok && !o.json
	if terminal {
		info, err := f.Stat()
		terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return progressbar.NewOptions(total, progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(o.errors), progressbar.OptionSetVisibility(terminal),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("objects"), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
}
