package http

import (
	"context"
	"testing"

	"varve/domain"
	. "varve/http/scenario"
	"varve/projections"
)

// runs lets batches run until the test ends.
func (st *stack) runs(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- st.commands.RunBatches(ctx, 2) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestLineageScenario(t *testing.T) {
	st := notes(t)
	st.runs(t)
	const ns = "films"
	st.Play(t,
		Step{Name: "object", Do: "POST /v1/buckets/reviews/objects", Namespace: ns, Events: []string{"object.saved"}, Body: `{"title":"Alien","blobs":[{"property":"text","type":"text","data":"In space no one can hear you scream."}]}`, Save: map[string]string{"o": "object_id"}},
		Step{Name: "nothing derived yet", Do: "GET /v1/objects/${o}/documents", Namespace: ns, Check: map[string]any{"total_documents": 0, "documents.#": 0}},
		Step{Name: "batch", Do: "POST /v1/buckets/reviews/batches?auto_submit=true", Namespace: ns, AnyEvents: true, Body: `{"object_ids":["${o}"]}`, Save: map[string]string{"batch": "batch_id"}},
		Step{Name: "done", Do: "GET /v1/batches/${batch}", Namespace: ns, Until: true, Check: map[string]any{"status": "COMPLETED"}},
		Step{Name: "derived", Do: "GET /v1/objects/${o}/documents", Namespace: ns, Check: map[string]any{"total_documents": 2, "total_collections": 2, "object.bucket_name": "reviews"}},
		Step{Name: "derived, seed", Do: "GET /v1/objects/${o}/derived?collection_ids=notes", Namespace: ns, Check: map[string]any{"total_documents": 1, "documents.0._internal.lineage.root_object_id": "${o}", "documents.0.title": "Alien"}, Save: map[string]string{"d": "documents.0.document_id"}},
		Step{Name: "in no such collection", Do: "GET /v1/objects/${o}/documents?collection_ids=none", Namespace: ns, Status: 404},
		Step{Name: "no such object", Do: "GET /v1/objects/obj_none/documents", Namespace: ns, Status: 404},
		Step{Name: "decomposition", Do: "GET /v1/objects/${o}/decomposition-tree?include_document_ids=true", Namespace: ns,
			Check: map[string]any{"tree.#": 1, "tree.0.collection_name": "notes", "tree.0.document_ids.0": "${d}", "tree.0.children.0.collection_name": "again", "tree.0.children.0.document_count": 1}},
		Step{Name: "descendants", Do: "GET /v1/collections/notes/documents/${d}/descendants", Namespace: ns, Check: map[string]any{"#": 1, "0.collection_id": "${again}", "0._internal.lineage.chain.0.document_id": "${d}", "0._internal.lineage.chain.0.collection_id": "${notes}"}, Save: map[string]string{"e": "0.document_id"}},
		Step{Name: "no ancestors", Do: "GET /v1/collections/notes/documents/${d}/ancestors", Namespace: ns, Check: map[string]any{"#": 0}},
		Step{Name: "ancestors", Do: "GET /v1/collections/again/documents/${e}/ancestors", Namespace: ns, Check: map[string]any{"#": 1, "0.document_id": "${d}"}},
		Step{Name: "lineage", Do: "GET /v1/collections/again/documents/${e}/lineage", Namespace: ns,
			Check: map[string]any{"depth": 1, "total_steps": 2, "lineage.root_object_id": "${o}", "lineage.source_type": "collection", "lineage.source_document_id": "${d}", "lineage.lineage_chain.0.document_id": "${d}", "lineage.lineage_chain.1.feature_extractor_id": "text_extractor_v1", "tree": Absent}},
		Step{Name: "lineage, seed", Do: "GET /v1/documents/${e}/lineage", Namespace: ns,
			Check: map[string]any{"depth": 1, "tree.object.object_id": "${o}", "tree.object.position": Present, "tree.batches.#": 1, "tree.batches.0.batch_id": "${batch}", "tree.batches.0.status": "COMPLETED", "tree.batches.0.documents.0.document_id": "${d}",
				"tree.batches.0.documents.0.features.#": 2, "tree.batches.0.documents.0.position": Present, "tree.batches.0.documents.0.children.0.document_id": "${e}", "tree.batches.0.documents.0.children.0.is_requested": true, "tree.total_documents": 2}},
		Step{Name: "expanded", Do: "GET /v1/documents/${e}?expand=parent,root_object,ancestors", Namespace: ns, Check: map[string]any{"_expanded.parent.document_id": "${d}", "_expanded.root_object.object_id": "${o}", "_expanded.ancestors.#": 1}},
		Step{Name: "processing", Do: "GET /v1/documents/${d}?return_vectors=true", Namespace: ns, Check: map[string]any{"_internal.processing.history.0.batch_id": "${batch}", "_internal.lineage.path": "${bucket}/${notes}", "_vectors.#": 2}},
		Step{Name: "written by a client", Do: "POST /v1/collections/notes/documents", Namespace: ns, Events: documentWritten, Body: `{"document_id":"own"}`},
		Step{Name: "has no lineage", Do: "GET /v1/collections/notes/documents/own/lineage", Namespace: ns, Check: map[string]any{"lineage": Absent, "message": Present, "depth": 0}},
		Step{Name: "is its own tree", Do: "GET /v1/documents/own/lineage", Namespace: ns, Check: map[string]any{"tree.object": Absent, "tree.batches.0.batch_id": Absent, "tree.batches.0.documents.0.document_id": "own"}},
		Step{Name: "parent deleted", Do: "DELETE /v1/collections/notes/documents/${d}", Namespace: ns, Events: []string{"document.deleted"}},
		Step{Name: "still named", Do: "GET /v1/collections/again/documents/${e}/lineage", Namespace: ns, Check: map[string]any{"depth": 1, "lineage.lineage_chain.0.document_id": "${d}", "lineage.lineage_chain.0.collection_id": "${notes}", "lineage.lineage_chain.0.timestamp": Absent}},
		Step{Name: "other organization", Do: "GET /v1/documents/${e}/lineage", As: "other", Namespace: ns, Status: 404},
	)
}

// TestDocumentNodesInACircle: lineage that clients wrote may lead in circles;
// every document must be in the tree once.
func TestDocumentNodesInACircle(t *testing.T) {
	row := func(id, source string) projections.DocumentRow {
		return projections.DocumentRow{Document: domain.Document{DocumentID: id, Lineage: domain.Lineage{SourceType: "direct_upsert", SourceDocumentID: source}}}
	}
	for name, rows := range map[string][]projections.DocumentRow{
		"alone":       {row("a", "a")},
		"two":         {row("a", "b"), row("b", "a")},
		"below a two": {row("a", "b"), row("b", "a"), row("c", "a"), row("d", "c")},
		"a line":      {row("a", ""), row("b", "a"), row("c", "b")},
	} {
		seen := map[string]int{}
		var walk func([]*documentNode)
		walk = func(nodes []*documentNode) {
			for _, n := range nodes {
				seen[n.DocumentID]++
				walk(n.Children)
			}
		}
		walk(documentNodes(domain.Config{}, rows, "a"))
		for _, r := range rows {
			if seen[r.DocumentID] != 1 {
				t.Errorf("%s: %s is in the tree %d times", name, r.DocumentID, seen[r.DocumentID])
			}
		}
	}
}
