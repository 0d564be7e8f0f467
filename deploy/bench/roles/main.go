// Command roles measures what one more process brings: it runs a Varve by roles
// on PostgreSQL (and Kafka and S3 where the tests have them), every process held
// to one core, and prints in the form of Go's benchmarks what one and two
// processes do in turns: queries of 8 clients answered by api processes, and
// objects of a batch extracted by workers.
//
//	VARVE_TEST_POSTGRES=postgres://… roles BINARY
//
// VARVE_BENCH_SECONDS (1): a third of how long queries run; VARVE_BENCH_OBJECTS (1000) in a batch.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	clients = 8
	turns   = 3
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: roles BINARY")
		os.Exit(2)
	}
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 2 * clients
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "roles:", err)
		os.Exit(1)
	}
}

func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func run(ctx context.Context, binary string) (err error) {
	v, err := newInstallation(ctx, binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close(context.WithoutCancel(ctx))) }()
	started := map[string]*process{}
	for _, role := range []string{"api", "projector,relay", "worker"} { // each has some 35 connections to the database
		if started[role], err = v.start(ctx, role); err != nil {
			return err
		}
	}
	first := started["api"]
	demo := exec.CommandContext(ctx, binary, "demo", "--url", first.url, "--key", v.key)
	if text, err := demo.CombinedOutput(); err != nil {
		return fmt.Errorf("varve demo: %w: %s", err, text)
	}
	if err := v.setUp(first); err != nil {
		return err
	}
	queries, objects := measurement{name: "api", unit: "queries/s"}, measurement{name: "worker", unit: "objects/s"}
	for range turns {
		for n := range 2 {
			apis, workers := []*process{first}, []*process{started["worker"]}
			if n == 1 {
				api, err := v.start(ctx, "api")
				if err != nil {
					return err
				}
				worker, err := v.start(ctx, "worker")
				if err != nil {
					return err
				}
				apis, workers = append(apis, api), append(workers, worker)
			}
			for i := range 2 * clients { // each loads its index first
				if err := v.ask(apis[i%len(apis)], i); err != nil {
					return err
				}
			}
			if err := queries.take(n, apis, func() (int, error) { return v.query(apis) }); err != nil {
				return err
			}
			batch, size, err := v.prepare(first)
			if err != nil {
				return err
			}
			if err := objects.take(n, workers, func() (int, error) { return size, v.extract(first, batch) }); err != nil {
				return err
			}
			if n == 1 {
				if err := errors.Join(v.stop(apis[1]), v.stop(workers[1])); err != nil {
					return err
				}
			}
		}
	}
	queries.print()
	objects.print()
	return nil
}

// measurement is what one and two processes of a role did, and the processor time that they took for each.
type measurement struct {
	name, unit string
	rates      [2][]float64
	used       [2][]float64 // seconds
}

func (m *measurement) take(n int, by []*process, do func() (int, error)) error {
	used := func() (s float64) {
		for _, p := range by {
			s += p.used()
		}
		return s
	}
	before, began := used(), time.Now()
	done, err := do()
	if err != nil {
		return err
	}
	m.rates[n] = append(m.rates[n], float64(done)/time.Since(began).Seconds())
	m.used[n] = append(m.used[n], (used()-before)/float64(done))
	return nil
}

func (m *measurement) print() {
	var ratios []float64
	for i := range m.rates[1] {
		ratios = append(ratios, m.rates[1][i]/m.rates[0][i])
	}
	for n := range 2 {
		fmt.Printf("BenchmarkRoles/%s_%d 1 %.1f %s %.2f cpu_ms", m.name, n+1, median(m.rates[n]), m.unit, 1000*median(m.used[n]))
		if n == 1 {
			fmt.Printf(" %.2f ratio", median(ratios))
		}
		fmt.Println()
	}
}

func median(all []float64) float64 {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

const demoSpace, space = "cranfield", "roles"

// setUp makes what batches need.
func (v *installation) setUp(p *process) error {
	for _, c := range []struct {
		path string
		body map[string]any
	}{
		{"/v1/namespaces", map[string]any{"namespace_name": space}},
		{"/v1/buckets", map[string]any{"bucket_name": "texts", "bucket_schema": map[string]any{"properties": map[string]any{"text": map[string]any{"type": "text"}}}}},
		{"/v1/collections", map[string]any{"collection_name": "texts", "source": map[string]any{"type": "bucket", "bucket_ids": []string{"texts"}},
			"feature_extractor": map[string]any{"feature_extractor_name": "text_extractor", "version": "v1", "input_mappings": map[string]any{"text": "text"}}}},
	} {
		if _, err := v.do(p, "POST", c.path, space, c.body); err != nil {
			return err
		}
	}
	return nil
}

var words = []string{"boundary layer", "heat transfer", "supersonic flow", "buckling of shells", "wing flutter", "shock wave", "slender body", "jet noise"}

// query asks from 8 clients, spread over the processes, for three times the unit.
func (v *installation) query(apis []*process) (int, error) {
	var n atomic.Int64
	errs := make([]error, clients)
	end := time.Now().Add(3 * time.Second * time.Duration(setting("VARVE_BENCH_SECONDS", 1)))
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := c; errs[c] == nil && time.Now().Before(end); i += clients {
				errs[c] = v.ask(apis[i%len(apis)], i)
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return int(n.Load()), errors.Join(errs...)
}

func (v *installation) ask(p *process, i int) error {
	_, err := v.do(p, "POST", "/v1/retrievers/search/execute", demoSpace, map[string]any{"inputs": map[string]any{"query": words[i/clients%len(words)]}, "limit": 10})
	return err
}

// prepare makes objects and their batch.
func (v *installation) prepare(p *process) (batch string, objects int, err error) {
	ids := make([]any, setting("VARVE_BENCH_OBJECTS", 1000))
	errs := make([]error, clients)
	text := strings.Repeat("The boundary layer of a flat plate in a supersonic stream, with heat transfer at its wall. ", 40)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := c; errs[c] == nil && i < len(ids); i += clients {
				var answer map[string]any
				answer, errs[c] = v.do(p, "POST", "/v1/buckets/texts/objects", space, map[string]any{"blobs": []any{map[string]any{"property": "text", "type": "text", "data": fmt.Sprint(i, ". ", text)}}})
				ids[i] = answer["object_id"]
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return "", 0, err
	}
	answer, err := v.do(p, "POST", "/v1/buckets/texts/batches", space, map[string]any{"object_ids": ids})
	batch, _ = answer["batch_id"].(string)
	return batch, len(ids), err
}

// extract submits a batch and waits for its end.
func (v *installation) extract(p *process, batch string) error {
	if _, err := v.do(p, "POST", "/v1/buckets/texts/batches/"+batch+"/submit", space, map[string]any{}); err != nil {
		return err
	}
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		answer, err := v.do(p, "GET", "/v1/batches/"+batch, space, nil)
		if err != nil || answer["status"] == "COMPLETED" {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("batch %s does not end: %v", batch, answer["status"])
		}
	}
}
