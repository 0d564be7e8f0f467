package serve_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	nethttp "net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"varve/cmd/varve/serve"
	"varve/commands"
	"varve/domain"
	"varve/domain/text"
	"varve/eventstore"
)

const (
	denseURI  = "mixpeek://text_extractor@v1/minilm_l6_v2_static_256"
	sparseURI = "mixpeek://text_extractor@v1/bm25"
)

// corpus is a server with documents made of sentences of the demo's abstracts.
type corpus struct {
	v         *serve.Varve
	url, key  string
	namespace domain.Namespace
	queries   []string
	vectors   []float32 // all documents' vectors, one after the other
	stop      func()
}

// sentences reads the demo's abstracts, one sentence an element, and its queries.
func sentences(b *testing.B) (all, queries []string) {
	b.Helper()
	read := func(name string, each func(map[string]any)) {
		f, err := os.Open(filepath.Join("..", "demo", "cranfield", name))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			b.Fatal(err)
		}
		s := bufio.NewScanner(z)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			var m map[string]any
			if err := json.Unmarshal(s.Bytes(), &m); err != nil {
				b.Fatal(err)
			}
			each(m)
		}
	}
	read("docs.jsonl.gz", func(m map[string]any) {
		for _, s := range strings.Split(m["text"].(string), " . ") {
			if s = strings.TrimSpace(s); len(s) > 20 {
				all = append(all, s)
			}
		}
	})
	read("queries.jsonl.gz", func(m map[string]any) { queries = append(queries, m["text"].(string)) })
	return all, queries
}

// newCorpus fills a server with n documents of three random sentences each, and
// a retriever over words and embeddings.
func newCorpus(b *testing.B, n int) *corpus {
	b.Helper()
	ctx := context.Background()
	v, err := serve.Open(ctx, serve.Config{Data: b.TempDir(), LogLevel: "error", Workers: 1, RateLimit: -1, Drain: time.Second, MaxBody: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	made, err := v.Commands.CreateOrganization(ctx, commands.In{}, commands.CreateOrganization{Name: "bench", Email: "bench@example.com"})
	if err != nil {
		b.Fatal(err)
	}
	orgs, err := v.Reads.Directory.Organizations(ctx)
	if err == nil && len(orgs) == 0 {
		err = v.Models.CatchUp(ctx, "directory")
		orgs, _ = v.Reads.Directory.Organizations(ctx)
	}
	if err != nil {
		b.Fatal(err)
	}
	in := commands.In{OrganizationID: made.Organization.ID, Organization: orgs[0].Log, Actor: "bench"}
	ns, err := v.Commands.CreateNamespace(ctx, in, commands.CreateNamespace{Name: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	in.Log = eventstore.LogID(ns.Log)
	k, err := v.Commands.SaveCollection(ctx, in, commands.SaveCollection{Change: func(k domain.Collection) (domain.Collection, error) {
		k.Name, k.Source.Type, k.Extractor = "texts", "direct_upsert", domain.ExtractorConfig{Name: "text_extractor", Version: "v1"}
		return k, nil
	}})
	if err != nil {
		b.Fatal(err)
	}
	params := json.RawMessage(`{"searches":[{"feature_uri":"` + sparseURI + `","query":"{{INPUT.query}}","top_k":100,"weight":0.6},{"feature_uri":"` + denseURI + `","query":"{{INPUT.query}}","top_k":100,"weight":0.4}],"fusion":"weighted","final_top_k":25}`)
	if _, err := v.Commands.SaveRetriever(ctx, in, commands.SaveRetriever{Change: func(r domain.Retriever) (domain.Retriever, error) {
		r.Name, r.CollectionIDs, r.InputSchema = "search", []string{k.CollectionID}, json.RawMessage(`{"query":{"type":"string","required":true}}`)
		r.Stages = []domain.Stage{{Name: "search", Type: "filter", ID: "feature_search", Parameters: params}}
		return r, nil
	}}); err != nil {
		b.Fatal(err)
	}
	all, queries := sentences(b)
	vectors := fill(b, v.Store, in.Log, k.CollectionID, all, n)
	began := time.Now()
	for _, err := v.Models.Pin(ctx, in.Log); ; _, err = v.Models.Pin(ctx, in.Log) {
		if err != nil {
			b.Fatal(err)
		}
		behind := uint64(0)
		for _, m := range v.Models.Status() {
			behind = max(behind, m.Lag)
		}
		if behind == 0 {
			break
		}
		if time.Since(began) > 5*time.Minute {
			b.Fatal("the read models do not catch up")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	serving, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- v.Serve(serving, l) }()
	return &corpus{v, "http://" + l.Addr().String(), made.APIKey, ns, queries, vectors, func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := v.Close(); err != nil {
			b.Error(err)
		}
	}}
}

func fill(b *testing.B, store eventstore.Store, log eventstore.LogID, collection string, all []string, n int) (vectors []float32) {
	b.Helper()
	chance := rand.New(rand.NewPCG(1, 2))
	embedder := text.BuiltIn()
	for from := 0; from < n; from += 500 {
		var batches []eventstore.Batch
		for i := from; i < min(from+500, n); i++ {
			s := all[chance.IntN(len(all))] + ". " + all[chance.IntN(len(all))] + ". " + all[chance.IntN(len(all))]
			vector, _ := embedder.Embed(s)
			vectors = append(vectors, vector...)
			terms, length := text.Terms(s)
			payload := map[string]json.RawMessage{"text": domain.EncodeValue(s), "shelf": json.RawMessage(strconv.Itoa(i % 20)), "lent": json.RawMessage(strconv.FormatBool(i%3 == 0))}
			d := domain.Document{DocumentID: domain.DeriveID(domain.DocumentPrefix, i), CollectionID: collection, ConfigVersion: 2, Payload: payload, Lineage: domain.Lineage{SourceType: "direct_upsert"}}
			e := eventstore.Event{Type: "document.written"}
			for _, f := range []domain.Feature{{URI: denseURI, Dense: vector}, {URI: sparseURI, Terms: terms, Length: length}} {
				e.Attachments = append(e.Attachments, eventstore.Attachment{Name: f.URI, Bytes: f.Encode()})
				d.Features = append(d.Features, domain.FeatureRef{URI: f.URI, Kind: map[bool]string{true: "dense", false: "sparse"}[f.Dense != nil], Dims: len(f.Dense)})
			}
			var err error
			if e.Data, err = domain.EncodeEvent(&domain.DocumentWritten{Document: d}); err != nil {
				b.Fatal(err)
			}
			batches = append(batches, eventstore.Batch{Log: log, Stream: domain.DocumentStream(d.DocumentID), Expect: eventstore.New(), Events: []eventstore.Event{e}})
		}
		if _, err := store.Append(context.Background(), eventstore.Append{Batches: batches}); err != nil {
			b.Fatal(err)
		}
	}
	return vectors
}

// ask executes one query; every second one has a filter on two fields.
func (c *corpus) ask(i int) error {
	body := map[string]any{"inputs": map[string]any{"query": c.queries[i%len(c.queries)]}, "limit": 10}
	if i%2 == 1 {
		body["filters"] = map[string]any{"AND": []any{map[string]any{"field": "shelf", "operator": "lt", "value": 10}, map[string]any{"field": "lent", "operator": "eq", "value": false}}}
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := nethttp.NewRequest("POST", c.url+"/v1/retrievers/search/execute", bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("X-Namespace", "bench")
	res, err := nethttp.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != 200 || !bytes.Contains(answer, []byte(`"document_id"`)) {
		return fmt.Errorf("%d %s", res.StatusCode, answer[:min(len(answer), 300)])
	}
	return nil
}

func size(b *testing.B) int {
	n, err := strconv.Atoi(os.Getenv("VARVE_BENCH_DOCUMENTS"))
	if err != nil {
		n = 10_000
	}
	b.Logf("%d documents (VARVE_BENCH_DOCUMENTS)", n)
	return n
}

// BenchmarkQuery measures a query (BM25 and dense, fused, recorded) at the HTTP
// interface: at 50 queries a second arriving independently, and from 8 clients
// beside scans of the same vectors by as many.
func BenchmarkQuery(b *testing.B) {
	c := newCorpus(b, size(b))
	defer c.stop()
	for i := range 40 {
		if err := c.ask(i); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("arriving at 50 a second", func(b *testing.B) {
		for range b.N {
			took := c.arrive(b, 50, 500)
			ms := func(p float64) float64 { return float64(took[int(p*float64(len(took)-1))].Microseconds()) / 1000 }
			b.ReportMetric(ms(0.50), "p50-ms")
			b.ReportMetric(ms(0.99), "p99-ms")
		}
	})
	b.Run("8 clients beside bare scans", func(b *testing.B) {
		for range b.N {
			var overFloats, overCodes []float64
			var rate, floats, codes float64
			for range 3 {
				rate, floats, codes = c.throughput(b, c.ask), c.throughput(b, c.scanFloats), c.throughput(b, c.scanIndex(b))
				overFloats, overCodes = append(overFloats, rate/floats), append(overCodes, rate/codes)
			}
			slices.Sort(overFloats)
			slices.Sort(overCodes)
			b.ReportMetric(rate, "queries/s")
			b.ReportMetric(floats, "float-scans/s")
			b.ReportMetric(codes, "index-scans/s")
			b.ReportMetric(overFloats[1], "÷float-scan")
			b.ReportMetric(overCodes[1], "÷index-scan")
		}
	})
}

// arrive starts queries at random moments, n in all, and gives their latencies,
// sorted, from the moment at which each should have started.
func (c *corpus) arrive(b *testing.B, perSecond float64, n int) []time.Duration {
	took := make([]time.Duration, n)
	var running sync.WaitGroup
	due := time.Now()
	for i := range n {
		due = due.Add(time.Duration(rand.ExpFloat64() / perSecond * float64(time.Second)))
		time.Sleep(time.Until(due))
		began := due
		running.Go(func() {
			if err := c.ask(i); err != nil {
				b.Error(err)
			}
			took[i] = time.Since(began)
		})
	}
	running.Wait()
	slices.Sort(took)
	return took
}

// throughput runs 8 clients for 4 seconds.
func (c *corpus) throughput(b *testing.B, ask func(i int) error) float64 {
	runtime.GC()
	var n atomic.Int64
	var running sync.WaitGroup
	began := time.Now()
	for client := range 8 {
		running.Go(func() {
			for i := client; time.Since(began) < 4*time.Second; i += 8 {
				if err := ask(i); err != nil {
					b.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	running.Wait()
	return float64(n.Load()) / time.Since(began).Seconds()
}

// scanFloats is the bare vector scan: the dot product of a query with every
// vector, in float32, and the best score.
func (c *corpus) scanFloats(i int) error {
	query, _ := text.BuiltIn().Embed(c.queries[i%len(c.queries)])
	best := float32(-1)
	for v := c.vectors; len(v) >= text.Dimensions; v = v[text.Dimensions:] {
		var s [8]float32
		for k := 0; k < text.Dimensions; k += 8 {
			q, x := query[k:k+8], v[k:k+8]
			for j := range 8 {
				s[j] += q[j] * x[j]
			}
		}
		best = max(best, s[0]+s[1]+s[2]+s[3]+s[4]+s[5]+s[6]+s[7])
	}
	if best < 0 {
		return fmt.Errorf("no vector is like query %d", i)
	}
	return nil
}

// scanIndex is the index's own exact search alone, over its codes, without
// filter, fusion, record or HTTP.
func (c *corpus) scanIndex(b *testing.B) func(i int) error {
	ctx := context.Background()
	pin, err := c.v.Models.Pin(ctx, eventstore.LogID(c.namespace.Log))
	if err != nil {
		b.Fatal(err)
	}
	return func(i int) error {
		query, _ := text.BuiltIn().Embed(c.queries[i%len(c.queries)])
		view, err := c.v.Reads.Retrieve.Index.View(ctx, pin.Log, pin.Position)
		if err != nil {
			return err
		}
		defer view.Close()
		set, err := view.Allow(ctx, nil, nil)
		if err != nil {
			return err
		}
		_, err = view.Dense(ctx, set, denseURI, query, 100)
		return err
	}
}
