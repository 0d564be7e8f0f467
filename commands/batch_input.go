package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"varve/commands/extract"
	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/blob"
)

// inputOf gathers what an extractor reads of a source: the mapped inputs in
// order, and the source's fields, among them what text and JSON blobs hold.
func (h *Handler) inputOf(ctx context.Context, in In, k domain.Collection, src source) (extract.Input, error) {
	input := extract.Input{Params: k.Extractor.Parameters, Fields: map[string]json.RawMessage{}}
	for name, v := range src.fields {
		input.Fields[name] = v
	}
	blobs := map[string]domain.Blob{}
	for _, b := range src.blobs {
		blobs[b.Property] = b
		if b.Inline != nil {
			input.Fields[b.Property] = b.Inline
		}
	}
	mappings := k.Extractor.InputMappings
	if len(mappings) == 0 {
		for _, b := range src.blobs { // media come as values, under the name of their property
			if b.Digest != "" {
				mappings = append(mappings, domain.InputMapping{InputKey: b.Property, Path: b.Property})
			}
		}
	}
	for _, m := range mappings {
		if m.Literal != nil {
			input.Values = append(input.Values, extract.Value{Key: m.InputKey, JSON: m.Literal})
			continue
		}
		if b, ok := blobs[m.Path]; ok && b.Digest != "" {
			bytes, err := h.readBlob(ctx, in, b)
			if err != nil {
				return input, err
			}
			input.Values = append(input.Values, extract.Value{Key: m.InputKey, Bytes: bytes, MimeType: b.MimeType})
			continue
		}
		if v, ok := fieldAt(input.Fields, m.Path); ok {
			input.Values = append(input.Values, extract.Value{Key: m.InputKey, JSON: v})
		}
	}
	if len(mappings) > 0 && len(input.Values) == 0 {
		return input, &extract.Error{Kind: extract.Permanent, Reason: fmt.Sprintf("the source has none of the fields that input_mappings names (%s)", pathsOf(mappings))}
	}
	return input, nil
}

func pathsOf(mappings []domain.InputMapping) string {
	s := ""
	for i, m := range mappings {
		if i > 0 {
			s += ", "
		}
		s += m.Path
	}
	return s
}

// maxInput is the most bytes of a blob that an extractor is given.
const maxInput = 256 << 20

func (h *Handler) readBlob(ctx context.Context, in In, b domain.Blob) ([]byte, error) {
	if b.Size > maxInput {
		return nil, &extract.Error{Kind: extract.Resource, Reason: fmt.Sprintf("blob %s has %d bytes; extractors are given at most %d", b.Property, b.Size, maxInput)}
	}
	bytes, err := h.Blobs.Read(ctx, in.OrganizationID, b.Digest)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, &extract.Error{Kind: extract.Permanent, Reason: fmt.Sprintf("the bytes of blob %s (%s) are gone", b.Property, b.Digest), Err: err}
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, eventstore.ErrBlobsUnavailable) { // then the batch waits
		return nil, &extract.Error{Kind: extract.Transient, Reason: fmt.Sprintf("the bytes of blob %s (%s) cannot be read now", b.Property, b.Digest), Err: err}
	}
	return bytes, err
}
