// Package extract is a placeholder by the lead so that others compile: its owner replaces this file.
package extract

import (
	"context"
	"encoding/json"

	"varve/domain"
)

// Kind of an Error.
type Kind string

// Permanent says that trying again does not help.
const Permanent Kind = "permanent"

// Error is an object's own fault.
type Error struct {
	Kind   Kind
	Reason string
}

// Error gives the reason.
func (e *Error) Error() string { return e.Reason }

// Input is what an extractor reads.
type Input struct {
	Params json.RawMessage
	Fields map[string]json.RawMessage
}

// Output is one document of an extractor.
type Output struct {
	Ordinal  int
	Payload  map[string]json.RawMessage
	Features []domain.Feature
}

// Extractor makes documents.
type Extractor interface {
	Validate(params json.RawMessage) error
	Extract(ctx context.Context, in Input) ([]Output, error)
}

// Lookup finds an extractor.
func Lookup(name, version string) (Extractor, error) { return nil, domain.NotFound("extractor", name) }
