package commands

import (
	"context"

	"varve/commands/extract"
	"varve/domain"
)

func (h *Handler) inputOf(ctx context.Context, in In, k domain.Collection, src source) (extract.Input, error) {
	return extract.Input{Params: k.Extractor.Parameters, Fields: src.fields}, nil
}
