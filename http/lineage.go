package http

import (
	"cmp"
	"context"
	"strings"

	"varve/domain"
	"varve/projections"
)

var _ = noun("lineage", (*Server).lineageRoutes)

func (s *Server) lineageRoutes() {
	read := needs{Permission: "read", Resource: "collection", Operation: "read_data", Namespaced: true, Class: "data"}
	const path = "/v1/collections/{collection_identifier}/documents/{document_id}"
	s.route("GET", path+"/lineage", read, handle(s.documentLineage))
	s.route("GET", path+"/ancestors", read, handle(s.ancestors))
	s.route("GET", path+"/descendants", read, handle(s.descendants))

	read.Filters = true
	s.route("GET", "/v1/documents/{document_id}/lineage", read, handle(s.lineageOfAny))
	s.route("GET", "/v1/objects/{object_id}/documents", read, handle(s.derived))
	s.route("GET", "/v1/objects/{object_id}/derived", read, handle(s.derived))
	s.route("GET", "/v1/objects/{object_id}/decomposition-tree", read, handle(s.decomposition))
}

// lineageWire is DocumentLineageResponse. Tree is ours.
type lineageWire struct {
	DocumentID   string           `json:"document_id"`
	CollectionID string           `json:"collection_id"`
	Lineage      *documentLineage `json:"lineage"`
	Depth        int              `json:"depth"` // documents above this one
	TotalSteps   int              `json:"total_steps"`
	Message      *string          `json:"message"`
	Tree         map[string]any   `json:"tree,omitempty"`
}

type documentLineage struct {
	RootObjectID       *string       `json:"root_object_id"`
	RootBucketID       *string       `json:"root_bucket_id"`
	SourceType         string        `json:"source_type"`
	SourceObjectID     *string       `json:"source_object_id"`
	SourceDocumentID   *string       `json:"source_document_id"`
	SourceCollectionID *string       `json:"source_collection_id"`
	SourceRow          any           `json:"source_row"`
	Chain              []lineageStep `json:"lineage_chain"`
}

// lineageStep is one extraction; the last one made the document itself.
type lineageStep struct {
	CollectionID string  `json:"collection_id"`
	ExtractorID  *string `json:"feature_extractor_id"`
	DocumentID   string  `json:"document_id"`
	Timestamp    *string `json:"timestamp"`
}

// lineageOf tells what a document was made of, from the root down. Documents
// of the chain that do not exist any more are named without extractor and time.
func (s *Server) lineageOf(ctx context.Context, c *Call, at projections.At, row projections.DocumentRow) (*lineageWire, error) {
	w := &lineageWire{DocumentID: row.DocumentID, CollectionID: row.CollectionID}
	l := row.Lineage
	if l.RootObjectID == "" && l.SourceObjectID == "" && l.SourceDocumentID == "" && len(l.Chain) == 0 {
		message := "the document was written by a client, which named no source: it has no lineage"
		w.Message = &message
		return w, nil
	}
	rows, err := s.Documents.Ancestors(ctx, at, row.DocumentID)
	if err != nil {
		return nil, err
	}
	known := map[string]projections.DocumentRow{row.DocumentID: row}
	chain := l.Chain
	if len(chain) == 0 {
		for _, a := range rows {
			chain = append(chain, a.DocumentID)
		}
	}
	for _, a := range rows {
		known[a.DocumentID] = a
	}
	steps := make([]lineageStep, 0, len(chain)+1)
	for i, id := range append(chain[:len(chain):len(chain)], row.DocumentID) {
		step := lineageStep{DocumentID: id}
		if a, ok := known[id]; ok {
			made := wireText(a.Updated)
			step.CollectionID, step.ExtractorID, step.Timestamp = a.CollectionID, textOrNull(extractorID(a.Extractor)), &made
		} else {
			step.CollectionID = chainCollection(l, i)
		}
		steps = append(steps, step)
	}
	w.Lineage = &documentLineage{RootObjectID: textOrNull(l.RootObjectID), RootBucketID: textOrNull(l.RootBucketID), SourceType: l.SourceType, SourceObjectID: textOrNull(l.SourceObjectID),
		SourceDocumentID: textOrNull(l.SourceDocumentID), SourceCollectionID: textOrNull(l.SourceCollectionID), Chain: steps}
	w.Depth, w.TotalSteps = len(steps)-1, len(steps)
	return w, nil
}

func (s *Server) documentLineage(ctx context.Context, r *Request[None]) (any, error) {
	at, _, row, err := s.documentAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	return s.lineageOf(ctx, r.Call, at, row)
}

// lineageOfAny adds the tree: the source object, the batches that read it, and
// all documents that came of it.
func (s *Server) lineageOfAny(ctx context.Context, r *Request[None]) (any, error) {
	at, cfg, row, err := s.documentAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	w, err := s.lineageOf(ctx, r.Call, at, row)
	if err != nil {
		return nil, err
	}
	w.Tree, err = s.lineageTree(ctx, r.Call, at, cfg, row)
	return w, err
}

func (s *Server) ancestors(ctx context.Context, r *Request[None]) (any, error) {
	at, _, row, err := s.documentAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	rows, err := s.Documents.Ancestors(ctx, at, row.DocumentID)
	return documentsOut(r.covered(rows), r.Namespace.ID), err
}

func (s *Server) descendants(ctx context.Context, r *Request[None]) (any, error) {
	at, _, row, err := s.documentAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	rows, err := s.Documents.Children(ctx, at, row.DocumentID, maxChildren)
	return documentsOut(r.covered(rows), r.Namespace.ID), err
}

// maxDerived bounds the documents that one answer about an object shows whole.
const maxDerived = 1000

// ofObject reads an object and the documents that came of it. An object that
// was deleted is told by its documents as long as they exist.
func (s *Server) ofObject(ctx context.Context, c *Call) (at projections.At, cfg domain.Config, object map[string]any, rows []projections.DocumentRow, err error) {
	if at, cfg, err = s.pin(ctx, c); err != nil {
		return
	}
	id := c.Path("object_id")
	var collections []string
	for _, name := range queryNames(c, "collection_ids") {
		k, ok := cfg.Collection(name)
		if !ok {
			err = domain.NotFound("collection", name)
			return
		}
		collections = append(collections, k.CollectionID)
	}
	if rows, err = s.Documents.ByObject(ctx, at, id, collections); err != nil {
		return
	}
	rows = c.covered(rows)
	object, err = s.objectNode(ctx, at, cfg, id)
	if err == nil && object["exists"] == false && len(rows) == 0 {
		err = domain.NotFound("object", id)
	}
	return
}

// objectNode is an object in a tree.
func (s *Server) objectNode(ctx context.Context, at projections.At, cfg domain.Config, id string) (map[string]any, error) {
	o, err := s.Objects.Object(ctx, at, "", id)
	if domain.CodeOf(err) == domain.CodeNotFound {
		return map[string]any{"object_id": id, "exists": false}, nil
	}
	if err != nil {
		return nil, err
	}
	blobs := make([]map[string]any, len(o.Blobs))
	for i, b := range o.Blobs {
		blobs[i] = map[string]any{"blob_id": b.BlobID, "property": b.Property, "type": b.Type}
	}
	return map[string]any{"object_id": id, "exists": true, "bucket_id": o.BucketID, "bucket_name": cfg.Buckets[o.BucketID].Name, "status": o.Status, "blobs": blobs,
		"created_at": wireTime(o.Created), "updated_at": wireTime(o.Updated), "version": o.Version, "position": o.Position}, nil
}

// derived gives the documents that came of an object, by collection.
func (s *Server) derived(ctx context.Context, r *Request[None]) (any, error) {
	_, cfg, object, rows, err := s.ofObject(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	ids := map[string][]string{}
	var order []string
	for _, row := range rows {
		if ids[row.CollectionID] == nil {
			order = append(order, row.CollectionID)
		}
		ids[row.CollectionID] = append(ids[row.CollectionID], row.DocumentID)
	}
	collections := make([]map[string]any, len(order))
	for i, id := range order {
		collections[i] = map[string]any{"collection_id": id, "collection_name": cfg.Collections[id].Name, "total_documents": len(ids[id]), "document_ids": ids[id]}
	}
	shown := rows[:min(maxDerived, len(rows))]
	return map[string]any{"object_id": r.Path("object_id"), "object": object, "total_documents": len(rows), "total_collections": len(order), "collections": collections,
		"documents": documentsOut(shown, r.Namespace.ID), "truncated": len(shown) < len(rows)}, nil
}

// decomposition is the tree of collections through which an object went.
func (s *Server) decomposition(ctx context.Context, r *Request[None]) (any, error) {
	withIDs, err := r.QueryBool("include_document_ids", false)
	if err != nil {
		return nil, err
	}
	_, cfg, object, rows, err := s.ofObject(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	nodes := map[string]map[string]any{}
	children := []map[string]any{}
	var place func(path string) map[string]any
	place = func(path string) map[string]any {
		if n, ok := nodes[path]; ok {
			return n
		}
		above, id := "", path
		if i := strings.LastIndexByte(path, '/'); i >= 0 {
			above, id = path[:i], path[i+1:]
		}
		k := cfg.Collections[id]
		n := map[string]any{"collection_id": id, "collection_name": k.Name, "feature_extractor_id": k.Extractor.Name + "_" + k.Extractor.Version,
			"document_count": 0, "children": []map[string]any{}}
		if withIDs {
			n["document_ids"] = []string{}
		}
		nodes[path] = n
		if strings.Contains(path, "/") && above != "" && strings.Contains(above, "/") {
			p := place(above)
			p["children"] = append(p["children"].([]map[string]any), n)
		} else {
			children = append(children, n)
		}
		return n
	}
	for _, row := range rows {
		n := place(cmp.Or(row.Lineage.Path, row.CollectionID))
		n["document_count"] = n["document_count"].(int) + 1
		if withIDs {
			n["document_ids"] = append(n["document_ids"].([]string), row.DocumentID)
		}
	}
	return map[string]any{"object_id": r.Path("object_id"), "object": object, "total_documents": len(rows), "total_collections": len(nodes), "tree": children}, nil
}
