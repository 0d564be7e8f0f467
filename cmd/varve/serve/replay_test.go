package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"varve/cmd/varve/serve"
	"varve/commands"
	"varve/domain"
	"varve/domain/text"
	"varve/eventstore"
	"varve/projections/retrieve"
)

// world is a server without HTTP, with one namespace and one collection that
// clients write into directly.
type world struct {
	v          *serve.Varve
	in         commands.In
	collection string
	retriever  domain.Retriever
}

func openWorld(t *testing.T, data string, change ...func(*serve.Config)) *serve.Varve {
	t.Helper()
	c := serve.Config{Data: data, LogLevel: "error", Workers: 2, MaxBody: 1 << 20}
	for _, f := range change {
		f(&c)
	}
	v, err := serve.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newWorld(t *testing.T, data string, change ...func(*serve.Config)) *world {
	t.Helper()
	ctx := t.Context()
	v := openWorld(t, data, change...)
	made, err := v.Commands.CreateOrganization(ctx, commands.In{}, commands.CreateOrganization{Name: "test", Email: "test@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Models.CatchUp(ctx, "directory"); err != nil {
		t.Fatal(err)
	}
	org, err := v.Reads.Directory.Organization(ctx, made.Organization.ID)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{v: v, in: commands.In{OrganizationID: org.OrgID, Organization: org.Log, Actor: "test"}}
	ns, err := v.Commands.CreateNamespace(ctx, w.in, commands.CreateNamespace{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	w.in.Log = eventstore.LogID(ns.Log)
	k, err := v.Commands.SaveCollection(ctx, w.in, commands.SaveCollection{Change: func(k domain.Collection) (domain.Collection, error) {
		k.Name, k.Source.Type, k.Extractor = "texts", "direct_upsert", domain.ExtractorConfig{Name: "text_extractor", Version: "v1"}
		return k, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.collection = k.CollectionID
	w.retriever, err = v.Commands.SaveRetriever(ctx, w.in, commands.SaveRetriever{Change: func(r domain.Retriever) (domain.Retriever, error) {
		r.Name, r.CollectionIDs = "search", []string{k.CollectionID}
		r.InputSchema = json.RawMessage(`{"query":{"type":"string","required":true},"shelf":{"type":"integer"}}`)
		r.Stages = []domain.Stage{
			{Name: "search", Type: "filter", ID: "feature_search", Parameters: json.RawMessage(`{"searches":[{"feature_uri":"` + sparseURI + `","query":"{{INPUT.query}}","top_k":50,"weight":0.6},{"feature_uri":"` + denseURI + `","query":"{{INPUT.query}}","top_k":50,"weight":0.4}],"fusion":"weighted","final_top_k":30}`)},
			{Name: "shelf", Type: "filter", ID: "attribute_filter", Parameters: json.RawMessage(`{"field":"shelf","operator":"lte","value":"{{INPUT.shelf}}"}`)},
		}
		return r, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var nouns = []string{"wing", "cone", "shock", "layer", "flow", "body", "plate", "nozzle", "wake", "heat", "gas", "lift"}

// write changes the namespace once: a new document, a changed one, or a deletion.
func (w *world) write(ctx context.Context, chance *rand.Rand, n int) error {
	s := ""
	for range 6 {
		s += nouns[chance.IntN(len(nouns))] + " "
	}
	vector, _ := text.BuiltIn().Embed(s)
	terms, length := text.Terms(s)
	features := []domain.Feature{{URI: denseURI, Dense: vector}, {URI: sparseURI, Terms: terms, Length: length}}
	payload := map[string]json.RawMessage{"text": domain.EncodeValue(s), "shelf": json.RawMessage(fmt.Sprint(chance.IntN(10)))}
	id := fmt.Sprintf("doc_%d", chance.IntN(n))
	_, err := w.v.Commands.CreateDocument(ctx, w.in, w.collection, commands.WriteDocument{DocumentID: id, Payload: payload, Features: features})
	if domain.CodeOf(err) != domain.CodeConflict {
		return err
	}
	if chance.IntN(4) == 0 {
		_, err = w.v.Commands.DeleteDocuments(ctx, w.in, w.collection, []string{id}, "")
		return err
	}
	_, err = w.v.Commands.ChangeDocument(ctx, w.in, w.collection, id, func(d domain.Document, _ []domain.Feature) (domain.Document, []domain.Feature, error) {
		d.Payload = payload
		return d, features, nil
	})
	if domain.CodeOf(err) == domain.CodeNotFound { // deleted in between
		err = nil
	}
	return err
}

func (w *world) query(ctx context.Context, chance *rand.Rand) (*retrieve.Execution, error) {
	pin, err := w.v.Models.Pin(ctx, w.in.Log)
	if err != nil {
		return nil, err
	}
	cfg, err := w.v.Commands.Configs.At(ctx, w.in.Log, pin.Position)
	if err != nil {
		return nil, err
	}
	inputs, _ := json.Marshal(map[string]any{"query": nouns[chance.IntN(len(nouns))] + " " + nouns[chance.IntN(len(nouns))], "shelf": chance.IntN(10)})
	return w.v.Reads.Retrieve.Execute(ctx, retrieve.Request{At: pin.At, Config: cfg, Retriever: w.retriever, Mode: retrieve.ModeRetriever, Inputs: inputs, Limit: 20})
}

// Queries run while eight writers change the namespace. Each is replayed from
// its stored record: at once, after the index and the read models were thrown
// away, and must give the identical result hash.
func TestQueriesUnderWritersReplay(t *testing.T) {
	ctx, data := t.Context(), filepath.Join(t.TempDir(), "data")
	w := newWorld(t, data)
	chance := rand.New(rand.NewPCG(7, 7))
	for range 200 {
		if err := w.write(ctx, chance, 150); err != nil {
			t.Fatal(err)
		}
	}
	var writers, readers sync.WaitGroup
	var done atomic.Bool
	for i := range 8 {
		writers.Go(func() {
			mine := rand.New(rand.NewPCG(uint64(i), 1))
			for !done.Load() {
				if err := w.write(ctx, mine, 150); err != nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	executions := make([][]*retrieve.Execution, 3)
	for i := range executions {
		readers.Go(func() {
			mine := rand.New(rand.NewPCG(uint64(i), 2))
			for range 40 {
				x, err := w.query(ctx, mine)
				if err != nil {
					t.Errorf("query: %v", err)
					return
				}
				executions[i] = append(executions[i], x)
			}
		})
	}
	readers.Wait()
	done.Store(true)
	writers.Wait()
	positions := map[uint64]bool{}
	for _, list := range executions {
		for _, x := range list {
			positions[x.Position] = true
		}
	}
	if len(positions) < 20 {
		t.Errorf("the queries saw only %d positions: the writers did not write beside them", len(positions))
	}
	replay := func(when string) {
		t.Helper()
		n := 0
		for _, list := range executions {
			for _, x := range list {
				header, trace := w.recorded(t, x.ID)
				r, err := w.v.Reads.Retrieve.Replay(ctx, w.in.Log, header, trace)
				if err != nil {
					t.Fatalf("replay %s: %v", when, err)
				}
				if !r.Identical || r.Hash != x.ResultHash {
					t.Errorf("%s, %s at position %d replays to %s, not to %s: %+v", when, x.ID, x.Position, r.Hash, x.ResultHash, r.Diverged)
				}
				n++
			}
		}
		t.Logf("report: %d queries at %d positions replayed to the same hash %s", n, len(positions), when)
	}
	replay("at once")
	if err := w.v.Close(); err != nil {
		t.Fatal(err)
	}
	w.v = openWorld(t, data)
	replay("after a restart")
	if err := w.v.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"index", "models"} {
		if err := os.RemoveAll(filepath.Join(data, dir)); err != nil {
			t.Fatal(err)
		}
	}
	w.v = openWorld(t, data)
	if err := w.v.Models.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	replay("after index and models were rebuilt")
	if err := w.v.Close(); err != nil {
		t.Fatal(err)
	}
}

// recorded reads an execution's record back from the store.
func (w *world) recorded(t *testing.T, id string) (*domain.ExecutionRecorded, *retrieve.Trace) {
	t.Helper()
	ctx := t.Context()
	if err := w.v.Reads.Executions.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	row, err := w.v.Reads.Traces.Execution(ctx, w.in.Log, id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.v.Reads.TraceBody(ctx, row.Log, row.Position)
	if err != nil {
		t.Fatal(err)
	}
	trace, err := retrieve.DecodeTrace(b)
	if err != nil {
		t.Fatal(err)
	}
	return &row.ExecutionRecorded, trace
}
