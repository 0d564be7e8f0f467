package projections

import (
	"context"
	"database/sql"
	"math"

	"varve/domain"
)

// Children lists documents that were made of a document directly, by collection
// and ordinal, at most limit (0: all).
func (d *Documents) Children(ctx context.Context, at At, documentID string, limit int) ([]DocumentRow, error) {
	if limit <= 0 {
		limit = math.MaxInt64
	}
	return d.rows(ctx, documentColumns+`WHERE log = ? AND source_document_id = ? AND source_document_id <> '' AND valid_from <= ? AND valid_to > ?
		ORDER BY collection_id, ordinal, document_id LIMIT ?`, logKey(at.Log), documentID, int64(at.Position), int64(at.Position), limit)
}

// Ancestors gives the documents that a document was made of, the root's first,
// without itself. Those that do not exist at the position are left out;
// domain.NotFound where the document itself does not exist.
func (d *Documents) Ancestors(ctx context.Context, at At, documentID string) ([]DocumentRow, error) {
	row, err := d.Document(ctx, at, documentID)
	if err != nil {
		return nil, err
	}
	chain := row.Lineage.Chain
	if source := row.Lineage.SourceDocumentID; len(chain) == 0 && source != "" {
		chain = []string{source}
	}
	ancestors, err := d.Documents(ctx, at, chain)
	if err != nil || len(ancestors) == 0 {
		return nil, err
	}
	seen := map[string]bool{documentID: true}
	for _, a := range ancestors {
		seen[a.DocumentID] = true
	}
	for first := ancestors[0]; first.Lineage.SourceDocumentID != "" && !seen[first.Lineage.SourceDocumentID]; first = ancestors[0] {
		parent, err := d.Document(ctx, at, first.Lineage.SourceDocumentID)
		if domain.CodeOf(err) == domain.CodeNotFound {
			break
		}
		if err != nil {
			return nil, err
		}
		seen[parent.DocumentID] = true
		ancestors = append([]DocumentRow{parent}, ancestors...)
	}
	return ancestors, nil
}

// ByObject lists the documents that were made of an object, directly or through
// other documents, in the given collections (none: all), by collection and ordinal.
func (d *Documents) ByObject(ctx context.Context, at At, objectID string, collections []string) ([]DocumentRow, error) {
	text := documentColumns + `WHERE log = ? AND root_object_id = ? AND root_object_id <> '' AND valid_from <= ? AND valid_to > ?`
	args := []any{logKey(at.Log), objectID, int64(at.Position), int64(at.Position)}
	if len(collections) > 0 {
		list, padded := marks(len(collections))
		text += ` AND collection_id IN (` + list + `)`
		for _, id := range collections {
			args = append(args, id)
		}
		args = pad(args, padded+4)
	}
	return d.rows(ctx, text+` ORDER BY collection_id, ordinal, document_id`, args...)
}

// CountByObject counts what ByObject lists of all collections.
func (d *Documents) CountByObject(ctx context.Context, at At, objectID string) (n int, err error) {
	err = d.query(ctx, `SELECT count(*) FROM documents WHERE log = ? AND root_object_id = ? AND root_object_id <> '' AND valid_from <= ? AND valid_to > ?`,
		[]any{logKey(at.Log), objectID, int64(at.Position), int64(at.Position)}, func(rows *sql.Rows) error { return rows.Scan(&n) })
	return n, err
}

func (d *Documents) rows(ctx context.Context, text string, args ...any) ([]DocumentRow, error) {
	var all []DocumentRow
	err := d.query(ctx, text, args, func(rows *sql.Rows) error {
		row, err := scanDocument(rows)
		all = append(all, row)
		return err
	})
	return all, err
}
