package serve

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"varve/cmd/varve/metrics"
	"varve/commands"
	"varve/eventstore/bus"
	"varve/eventstore/state"
	"varve/http/asyncapi"
)

// topics sets what customers' topics need of the server, and gives what
// /asyncapi.json tells of the server's own. It comes after the state is open, and
// before the API is made.
func (v *Varve) topics(ctx context.Context) (asyncapi.Options, error) {
	about := asyncapi.Options{Version: v.Config.Version}
	secret, err := v.State.Secret(ctx, state.Topics)
	if err != nil {
		return about, err
	}
	t := &commands.Topics{AllowPrivate: v.Config.AllowPrivate, Secret: secret, Random: rand.Reader, MaxBytes: int(v.Config.MaxBody), Namespaces: v.topicNamespaces}
	if v.Config.Bus != "" {
		own, err := bus.ParseURL(v.Config.Bus)
		if err != nil {
			return about, fmt.Errorf("--bus: %w", err)
		}
		about.Events, about.Executions, about.Source = own.TopicName(), own.Executions().TopicName(), own.Source
		t.Reserved = []string{about.Events, about.Executions}
		t.Bus = &own
	}
	v.Commands.Topics = t
	return about, nil
}

// topicNamespaces lists all namespaces, those made a moment ago among them.
func (v *Varve) topicNamespaces(ctx context.Context) ([]commands.TopicRef, error) {
	if err := v.Models.CatchUp(ctx, "directory"); err != nil {
		return nil, err
	}
	all, err := v.Reads.Directory.NamespaceLogs(ctx)
	refs := make([]commands.TopicRef, len(all))
	for i, n := range all {
		refs[i] = commands.TopicRef{OrganizationID: n.OrgID, Organization: n.OrgLog, Log: n.Log, Shard: n.Shard}
	}
	return refs, err
}

// runTopics takes objects from customers' topics until ctx ends: for a worker.
func (v *Varve) runTopics(ctx context.Context) {
	for {
		err := v.Commands.RunTopics(ctx)
		if ctx.Err() != nil {
			return
		}
		v.log.Warn("customers' topics are not read yet: trying again", slog.Any("error", err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// topicCounts sums up the topics that this process reads.
func (v *Varve) topicCounts() (sum metrics.Topics) {
	for _, t := range v.Commands.Topics.States() {
		if t.Err != nil {
			sum.Failing++
		} else {
			sum.Reading++
		}
		sum.Taken, sum.Refused, sum.Lag = sum.Taken+t.Taken, sum.Refused+t.Refused, sum.Lag+t.Lag()
	}
	return sum
}
