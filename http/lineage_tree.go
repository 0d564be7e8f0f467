package http

import (
	"cmp"
	"context"
	"slices"

	"varve/domain"
	"varve/projections"
)

// maxTree bounds the documents that a tree shows.
const maxTree = 1000

// lineageTree is everything around a document: source object → batches →
// documents, each with its features and the position of the event that wrote it.
func (s *Server) lineageTree(ctx context.Context, c *Call, at projections.At, cfg domain.Config, row projections.DocumentRow) (map[string]any, error) {
	tree := map[string]any{"position": at.Position, "object": nil}
	var rows []projections.DocumentRow
	var err error
	if root := cmp.Or(row.Lineage.RootObjectID, row.Lineage.SourceObjectID); root != "" {
		object, err := s.objectNode(ctx, at, cfg, root)
		if err != nil {
			return nil, err
		}
		object["version_read"] = row.Lineage.RootVersion
		tree["object"] = object
		if rows, err = s.Documents.ByObject(ctx, at, root, nil); err != nil {
			return nil, err
		}
	} else if rows, err = s.family(ctx, at, row); err != nil {
		return nil, err
	}
	rows = c.covered(rows)
	tree["total_documents"], tree["truncated"] = len(rows), len(rows) > maxTree
	if len(rows) > maxTree {
		rows = rows[:maxTree]
		if !slices.ContainsFunc(rows, func(r projections.DocumentRow) bool { return r.DocumentID == row.DocumentID }) {
			rows = append(rows[:maxTree:maxTree], row)
		}
	}
	batches, err := s.batchNodes(ctx, at, documentNodes(cfg, rows, row.DocumentID))
	tree["batches"] = batches
	return tree, err
}

// family is a document, what it was made of, and what was made of these.
func (s *Server) family(ctx context.Context, at projections.At, row projections.DocumentRow) ([]projections.DocumentRow, error) {
	ancestors, err := s.Documents.Ancestors(ctx, at, row.DocumentID)
	if err != nil {
		return nil, err
	}
	rows := append(ancestors, row)
	seen := map[string]bool{}
	for _, r := range rows {
		seen[r.DocumentID] = true
	}
	for i := 0; i < len(rows) && len(rows) < maxTree; i++ {
		children, err := s.Documents.Children(ctx, at, rows[i].DocumentID, maxTree-len(rows))
		if err != nil {
			return nil, err
		}
		for _, child := range children {
			if !seen[child.DocumentID] {
				seen[child.DocumentID] = true
				rows = append(rows, child)
			}
		}
	}
	return rows, nil
}

// documentNode is a document in a tree.
type documentNode struct {
	DocumentID     string              `json:"document_id"`
	CollectionID   string              `json:"collection_id"`
	CollectionName string              `json:"collection_name"`
	ExtractorID    *string             `json:"feature_extractor_id"`
	BatchID        *string             `json:"batch_id"`
	Ordinal        int                 `json:"ordinal"`
	Features       []domain.FeatureRef `json:"features"`
	Position       uint64              `json:"position"` // of the event that wrote this version
	Version        uint64              `json:"version"`
	CreatedAt      wireTime            `json:"created_at"`
	UpdatedAt      wireTime            `json:"updated_at"`
	Asked          bool                `json:"is_requested"`
	Children       []*documentNode     `json:"children"`
}

// documentNodes hangs documents below those that they were made of and gives
// those whose source is not among them.
func documentNodes(cfg domain.Config, rows []projections.DocumentRow, asked string) []*documentNode {
	nodes := make(map[string]*documentNode, len(rows))
	for _, r := range rows {
		nodes[r.DocumentID] = &documentNode{DocumentID: r.DocumentID, CollectionID: r.CollectionID, CollectionName: cfg.Collections[r.CollectionID].Name,
			ExtractorID: textOrNull(extractorID(r.Extractor)), BatchID: textOrNull(r.BatchID), Ordinal: r.Lineage.Ordinal, Features: orEmpty(r.Features),
			Position: r.Position, Version: r.Version, CreatedAt: wireTime(r.Created), UpdatedAt: wireTime(r.Updated), Asked: r.DocumentID == asked, Children: []*documentNode{}}
	}
	source := make(map[string]string, len(rows))
	for _, r := range rows {
		source[r.DocumentID] = r.Lineage.SourceDocumentID
	}
	var tops []*documentNode
	for _, r := range rows {
		n := nodes[r.DocumentID]
		if above, ok := nodes[source[r.DocumentID]]; ok && !inCircle(source, r.DocumentID) {
			above.Children = append(above.Children, n)
		} else {
			tops = append(tops, n)
		}
	}
	return tops
}

// inCircle says whether a document's sources lead back to it, which only
// lineage that clients wrote can do.
func inCircle(source map[string]string, id string) bool {
	at := source[id]
	for range source {
		if at == id {
			return true
		}
		if at = source[at]; at == "" {
			return false
		}
	}
	return false
}

// batchNodes groups the topmost documents by the batch that wrote them; those
// that a client wrote have no batch.
func (s *Server) batchNodes(ctx context.Context, at projections.At, tops []*documentNode) ([]map[string]any, error) {
	byID := map[string]map[string]any{}
	list := []map[string]any{}
	for _, n := range tops {
		id := ""
		if n.BatchID != nil {
			id = *n.BatchID
		}
		w, ok := byID[id]
		if !ok {
			w = map[string]any{"batch_id": n.BatchID, "documents": []*documentNode{}}
			if id != "" {
				b, err := s.Batches.Batch(ctx, at.Log, id)
				switch domain.CodeOf(err) {
				case "":
					batch := batchOut(b, "")
					w["status"], w["task_id"], w["created_at"], w["completed_at"] = batch.Status, batch.TaskID, batch.CreatedAt, batch.CompletedAt
				case domain.CodeNotFound: // deleted; its documents stay
				default:
					return nil, err
				}
			}
			byID[id] = w
			list = append(list, w)
		}
		w["documents"] = append(w["documents"].([]*documentNode), n)
	}
	return list, nil
}
