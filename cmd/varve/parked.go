package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

type parkedCmd struct {
	List  parkedListCmd  `cmd:"" default:"withargs" help:"List the parked streams of all read models, and why each is parked."`
	Retry parkedRetryCmd `cmd:"" help:"Apply a parked stream again, from the event that could not be applied on."`
	Skip  parkedSkipCmd  `cmd:"" help:"Leave out the event that could not be applied and go on with what follows it. The read model answers as if that event had not happened, until it is built anew; the log keeps it."`
}

// parkedStream is a stream of which a read model leaves events out.
type parkedStream struct {
	Log       string    `json:"log"`
	Namespace string    `json:"namespace,omitempty"`
	Stream    string    `json:"stream"`
	Position  uint64    `json:"position"`
	Type      string    `json:"type"`
	Error     string    `json:"error"`
	Since     time.Time `json:"since"`
	Tries     int       `json:"tries"`
}

type parkedListCmd struct {
	URL string `help:"Address of the server." default:"http://127.0.0.1:8080" env:"VARVE_URL"`
	Key string `help:"API key of an administrator." env:"VARVE_KEY"`
}

// parkedModel is what one read model has parked in one shard.
type parkedModel struct {
	Model   string         `json:"model"`
	Shard   int            `json:"shard"`
	Parked  int            `json:"parked"`
	Streams []parkedStream `json:"parked_streams"`
}

// Run lists what is parked, with the arguments that retry and skip take.
func (c parkedListCmd) Run(ctx context.Context, o output) error {
	api, err := remote{URL: c.URL, Key: c.Key}.client()
	if err != nil {
		return err
	}
	var all struct {
		Models []parkedModel `json:"models"`
	}
	if err := api.call(ctx, "GET", "/v1/models", nil, &all); err != nil {
		return err
	}
	parked := []parkedModel{}
	for _, m := range all.Models {
		if m.Parked > 0 {
			parked = append(parked, m)
		}
	}
	return o.print(map[string]any{"models": parked}, func(w io.Writer) {
		if len(parked) == 0 {
			fmt.Fprintln(w, "nothing is parked")
		}
		for _, m := range parked {
			for _, p := range m.Streams {
				fmt.Fprintf(w, "%s %s %s --at %d\n  %s\n", m.Model, p.Log, p.Stream, p.Position, p.said())
			}
			if others := m.Parked - len(m.Streams); others > 0 {
				fmt.Fprintf(w, "%s, shard %d: %d of other organizations, which their administrators' keys show\n", m.Model, m.Shard, others)
			}
		}
	})
}

// said tells in one line where a stream stands, and why.
func (p parkedStream) said() string {
	where := "the organization"
	if p.Namespace != "" {
		where = "namespace " + p.Namespace
	}
	return fmt.Sprintf("since %s, at position %d of %s, tried %d times: %s", p.Since.Format(time.RFC3339), p.Position, where, p.Tries, p.Error)
}

// parkedArgs name a parked stream as the list shows it.
type parkedArgs struct {
	URL    string `help:"Address of the server." default:"http://127.0.0.1:8080" env:"VARVE_URL"`
	Key    string `help:"API key of an administrator." env:"VARVE_KEY"`
	Model  string `arg:"" help:"Read model."`
	Log    string `arg:"" help:"Log."`
	Stream string `arg:"" optional:"" help:"Stream; none: the log, where it is parked as a whole."`
	Shard  *int   `help:"Shard; none: the one in which the stream is parked."`
	At     uint64 `help:"Position from which on it is parked, as the list says; nothing is done where it stands elsewhere. None: wherever it stands." placeholder:"POSITION"`
}

type parkedRetryCmd struct {
	parkedArgs `embed:""`
}

// Run retries; where an event still cannot be applied, that is an error.
func (c parkedRetryCmd) Run(ctx context.Context, o output) error {
	return c.resume(ctx, o, "retry", "all of it is applied")
}

type parkedSkipCmd struct {
	parkedArgs `embed:""`
}

// Run skips one event; where a later one cannot be applied either, that is an error.
func (c parkedSkipCmd) Run(ctx context.Context, o output) error {
	return c.resume(ctx, o, "skip", "one event was left out, and all that follows it is applied")
}

func (c parkedArgs) resume(ctx context.Context, o output, verb, done string) error {
	api, err := remote{URL: c.URL, Key: c.Key}.client()
	if err != nil {
		return err
	}
	body := map[string]any{"log": c.Log, "stream": c.Stream}
	if c.Shard != nil {
		body["shard"] = *c.Shard
	}
	if c.At > 0 {
		body["position"] = c.At
	}
	var a struct {
		Model  string        `json:"model"`
		Shard  int           `json:"shard"`
		Log    string        `json:"log"`
		Stream string        `json:"stream"`
		Parked *parkedStream `json:"parked"`
	}
	if err := api.call(ctx, "POST", "/v1/models/"+escape(c.Model)+"/parked/"+verb, body, &a); err != nil {
		return err
	}
	if a.Parked != nil {
		err = fmt.Errorf("%s %s %s is parked still: %s", a.Model, a.Log, a.Stream, a.Parked.said())
	}
	if o.json || err == nil {
		return errors.Join(o.print(a, func(w io.Writer) { fmt.Fprintf(w, "%s %s %s: %s\n", a.Model, a.Log, a.Stream, done) }), err)
	}
	return err
}
