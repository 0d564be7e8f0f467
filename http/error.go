package http

import (
	"context"
	"errors"
	"log/slog"
	"math"
	nethttp "net/http"
	"strconv"
	"syscall"

	"varve/commands"
	"varve/domain"
	"varve/eventstore"
)

// codes is the one table from domain codes to the wire.
var codes = map[domain.Code]struct {
	status int
	name   string // error.type
}{
	domain.CodeInvalid:      {422, "ValidationError"},
	domain.CodeBadRequest:   {400, "BadRequestError"},
	domain.CodeUnauthorized: {401, "UnauthorizedError"},
	domain.CodeForbidden:    {403, "ForbiddenError"},
	domain.CodeNotFound:     {404, "NotFoundError"},
	domain.CodeConflict:     {409, "AlreadyExistsError"},
	domain.CodeTooLarge:     {413, "PayloadTooLargeError"},
	domain.CodeRateLimited:  {429, "TooManyRequestsError"},
	domain.CodeUnavailable:  {503, "ServiceUnavailableError"},
	domain.CodeUnsupported:  {501, "NotEnabledError"},
	domain.CodeInternal:     {500, "InternalServerError"},
}

const internalMessage = "something went wrong inside the server; the log has more under this request_id"

// envelope is ErrorResponse of the reference.
type envelope struct {
	Success   bool          `json:"success"`
	Status    int           `json:"status"`
	Error     envelopeError `json:"error"`
	RequestID string        `json:"request_id"`
}

type envelopeError struct {
	Message string         `json:"message"`
	Type    string         `json:"type"`
	Code    string         `json:"code,omitempty"`
	Details map[string]any `json:"details,omitempty"`
}

// validationError is one wrong value.
type validationError struct {
	Type     string `json:"type"`
	Location []any  `json:"location"`
	Message  string `json:"message"`
}

// writeError answers an error. What is not a *domain.Error, and every 500, is
// logged and its text is kept from the client. A refusal for now (429, 503 with
// a known wait) carries Retry-After and retryable true; a final one neither.
func (s *Server) writeError(w nethttp.ResponseWriter, req *nethttp.Request, err error) {
	e := clientError(err)
	code := codes[e.Code]
	if code.status == 0 {
		code = codes[domain.CodeInternal]
	}
	id := trailOf(req).id
	if code.status == 500 {
		if req.Context().Err() == nil || !errors.Is(err, context.Canceled) {
			s.Log.Error("request failed", slog.String("request_id", id), slog.String("method", req.Method), slog.String("path", req.URL.Path), slog.Any("error", err), slog.Any("cause", e.Err), traceID(req.Context()))
		}
		e = &domain.Error{Code: domain.CodeInternal, Message: internalMessage}
	}
	if e.Reason == "storage_full" {
		s.Log.Error("the disk is full", slog.String("request_id", id), slog.Any("error", err))
	}
	details := map[string]any{}
	for k, v := range e.Details {
		details[k] = v
	}
	if len(e.Violations) > 0 {
		list := make([]validationError, len(e.Violations))
		for i, v := range e.Violations {
			list[i] = validationError{Type: v.Type, Location: location(v.Path), Message: v.Message}
		}
		details["validation_errors"] = list
	}
	if code.status == 429 || code.status == 503 {
		details["retryable"] = e.RetryAfter > 0
		if e.RetryAfter > 0 {
			seconds := math.Ceil(e.RetryAfter)
			details["retry_after_seconds"] = seconds
			w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
		}
	}
	if code.status == 401 {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	s.writeStatus(w, req, code.status, envelopeError{Message: e.Message, Type: code.name, Code: e.Reason, Details: details})
}

func (s *Server) writeStatus(w nethttp.ResponseWriter, req *nethttp.Request, status int, e envelopeError) {
	if wrapped, ok := w.(interface{ Unwrap() nethttp.ResponseWriter }); ok {
		if watched, ok := wrapped.Unwrap().(*watchedWriter); ok && watched.begun {
			return // half an answer is out; a second one would only confuse
		}
	}
	id := trailOf(req).id
	if e.Message == "" {
		e.Message = nethttp.StatusText(status)
	}
	b, err := encodeJSON(envelope{Status: status, Error: e, RequestID: id})
	if err != nil {
		s.Log.Error("encode an error", slog.String("request_id", id), slog.Any("error", err))
		b = []byte(`{"success":false,"status":500,"error":{"message":"` + internalMessage + `","type":"InternalServerError"},"request_id":"` + id + `"}`)
		status = 500
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// clientError finds what a client may know of an error.
func clientError(err error) *domain.Error {
	var e *domain.Error
	if errors.As(err, &e) || errors.As(commands.Translate(err), &e) {
		return e
	}
	var truncated *eventstore.TruncatedError
	switch {
	case errors.As(err, &truncated):
		return &domain.Error{Code: domain.CodeNotFound, Reason: "removed_by_retention", Message: truncated.Error(), Err: err}
	case errors.Is(err, eventstore.ErrUnknownOutcome):
		return &domain.Error{Code: domain.CodeUnavailable, Reason: "unknown_outcome", Message: "whether the change was made is not known; read before you repeat it, or repeat it under the same Idempotency-Key", Err: err}
	case errors.Is(err, eventstore.ErrNoSpace), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &domain.Error{Code: domain.CodeUnavailable, Reason: "storage_full", Message: "the server's disk is full; nothing was written, try again once its operator has made space", RetryAfter: 30, Err: err}
	case errors.Is(err, eventstore.ErrUnavailable):
		return &domain.Error{Code: domain.CodeUnavailable, Reason: "store_unavailable", Message: "the server's database is not available; nothing was changed, try again", RetryAfter: 1, Err: err}
	case errors.Is(err, eventstore.ErrBlobsUnavailable):
		return &domain.Error{Code: domain.CodeUnavailable, Reason: "blobs_unavailable", Message: "the server's blob store is not available; nothing was changed, try again", RetryAfter: 5, Err: err}
	case errors.Is(err, eventstore.ErrStoreClosed):
		return &domain.Error{Code: domain.CodeUnavailable, Reason: "stopping", Message: "the server is stopping; try again", RetryAfter: 1, Err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &domain.Error{Code: domain.CodeUnavailable, Reason: "timeout", Message: "the request took longer than it may; ask for less, or try again", RetryAfter: 1, Err: err}
	}
	return &domain.Error{Code: domain.CodeInternal, Message: internalMessage, Err: err}
}

// location splits a path (stages[0].config.limit) into the reference's list:
// where the value was ("body" unless the path says query or path), then names and indexes.
func location(path string) []any {
	list := []any{}
	for i := 0; i < len(path); {
		switch path[i] {
		case '.':
			i++
		case '[':
			end := i + 1
			for end < len(path) && path[end] != ']' {
				end++
			}
			if n, err := strconv.Atoi(path[i+1 : end]); err == nil {
				list = append(list, n)
			} else {
				list = append(list, path[i+1:end])
			}
			i = end + 1
		default:
			end := i
			for end < len(path) && path[end] != '.' && path[end] != '[' {
				end++
			}
			list = append(list, path[i:end])
			i = end
		}
	}
	if len(list) > 0 && (list[0] == "query" || list[0] == "path" || list[0] == "body" || list[0] == "header") {
		return list
	}
	return append([]any{"body"}, list...)
}
