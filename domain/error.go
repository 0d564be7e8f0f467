// Package domain holds what Varve is about: the nouns, the events that change
// them, the state those events fold into, and the decisions. It is pure: the
// standard library only, no context, no clock, no I/O.
package domain

import (
	"errors"
	"fmt"
)

// Code classifies an error for every layer above; http/route.go is the one
// place that turns it into a status and a type name of the wire.
type Code string

// The codes, each with the HTTP status that it becomes.
const (
	CodeInvalid      Code = "invalid"      // 422: a value that can never be right
	CodeBadRequest   Code = "bad_request"  // 400: a request that cannot be understood
	CodeUnauthorized Code = "unauthorized" // 401
	CodeForbidden    Code = "forbidden"    // 403
	CodeNotFound     Code = "not_found"    // 404
	CodeConflict     Code = "conflict"     // 409: a name in use, a state that forbids it
	CodeTooLarge     Code = "too_large"    // 413
	CodeRateLimited  Code = "rate_limited" // 429
	CodeUnavailable  Code = "unavailable"  // 503: trying again later helps
	CodeUnsupported  Code = "unsupported"  // 501: an operation that this version does not have
	CodeInternal     Code = "internal"     // 500
)

// Violation names one wrong value by its path in the request.
type Violation struct {
	Path    string // dotted, with [i] for elements: "stages[0].config.parameters.limit"
	Message string // what is wrong and what would be right
	Type    string // short machine word: "missing", "type", "range", "enum", "pattern", …
}

// Error is the one error type that crosses layers with a meaning for the
// client. Message says what is wrong, where, and what would be right; it never
// holds secrets, stack traces or SQL.
type Error struct {
	Code       Code
	Message    string
	Reason     string         // finer machine name, for example "namespace_name_taken"
	Violations []Violation    // for CodeInvalid
	Details    map[string]any // further facts for the client
	RetryAfter float64        // seconds; for CodeRateLimited and CodeUnavailable
	Err        error          // cause, for the log
}

// Error gives the message; the cause is for the log, which unwraps it.
func (e *Error) Error() string { return e.Message }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of one code; %w wraps a cause as with fmt.Errorf.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Invalid makes a CodeInvalid error about one path.
func Invalid(path, kind, format string, args ...any) *Error {
	v := Violation{Path: path, Type: kind, Message: fmt.Sprintf(format, args...)}
	return &Error{Code: CodeInvalid, Message: v.Path + ": " + v.Message, Violations: []Violation{v}}
}

// NotFound says that a resource does not exist, or not for this caller.
func NotFound(kind, id string) *Error {
	return &Error{Code: CodeNotFound, Message: fmt.Sprintf("%s %q does not exist", kind, id), Details: map[string]any{"resource": kind, "id": id}}
}

// CodeOf gives the code of the first Error in err's chain, CodeInternal where
// there is none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

func indexed(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
