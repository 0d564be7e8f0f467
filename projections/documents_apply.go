package projections

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"varve/domain"
	"varve/eventstore"
)

var documentHistory = &history{table: "documents", id: "document_id", group: "collection_id",
	more: []string{"root_object_id", "source_document_id", "ordinal"}}

// Apply folds a page.
func (*Documents) Apply(ctx context.Context, tx *Tx, page []eventstore.Record) error {
	changes, err := documentChanges(page)
	if err != nil {
		return err
	}
	return documentHistory.applyPage(ctx, tx, changes)
}

func (*Documents) load(ctx context.Context, tx *Tx) (loading, error) {
	return documentHistory.load(ctx, tx, documentChanges)
}

// documentChanges reads a page.
func documentChanges(page []eventstore.Record) ([]change, error) {
	changes := make([]change, 0, len(page))
	for i := range page {
		r := &page[i]
		c, err := documentChange(r)
		if err != nil {
			return nil, fmt.Errorf("%s at position %d of log %s: %w", r.Type, r.Position, r.Log, err)
		}
		changes = append(changes, c)
	}
	return changes, nil
}

func documentChange(r *eventstore.Record) (change, error) {
	c := changeOf(r)
	if r.Schema > 1 {
		return c, fmt.Errorf("schema %d was written by a newer Varve", r.Schema)
	}
	switch {
	case r.Type == "collection.deleted":
		e, err := domain.DecodeEvent(r.Type, r.Schema, r.Data)
		if err != nil {
			return c, err
		}
		c.kind, c.id = ends, e.(*domain.CollectionDeleted).CollectionID
		return c, nil
	case r.Type == "document.deleted", r.Erased, len(r.Data) == 0:
		c.kind, c.id = deletes, strings.TrimPrefix(r.Stream, domain.DocumentStream(""))
		return c, nil
	}
	if err := readDocument(&c, r.Data); err != nil {
		return c, err
	}
	if c.id == "" {
		return c, errors.New("the event names no document")
	}
	return c, nil
}

// readDocument takes what has a column of its own from a document.written's data.
func readDocument(c *change, data []byte) error {
	var root, object, source string
	var ordinal uint64
	err := eachMember(data, func(key, value []byte) (err error) {
		switch string(key) {
		case "document_id":
			c.id, err = text(value)
		case "collection_id":
			c.group, err = text(value)
		case "config_version":
			c.checked, err = number(value)
		case "lineage":
			if value[0] != '{' {
				return nil
			}
			return eachMember(value, func(key, value []byte) (err error) {
				switch string(key) {
				case "root_object_id":
					root, err = text(value)
				case "source_object_id":
					object, err = text(value)
				case "source_document_id":
					source, err = text(value)
				case "ordinal":
					ordinal, err = number(value)
				}
				return err
			})
		}
		return err
	})
	if root == "" {
		root = object
	}
	c.more, c.data = []any{root, source, int64(ordinal)}, string(data)
	return err
}
