package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"varve/cmd/varve/serve"
)

type serveCmd struct {
	serve.Config
}

// Run serves until the context ends (SIGINT, SIGTERM).
func (c serveCmd) Run(ctx context.Context, o output) error {
	c.Version = version
	v, err := serve.Open(ctx, c.Config)
	if err != nil {
		return err
	}
	defer func() { _ = v.Close() }()
	first, err := v.Initialize(ctx, c.Organization, c.Email)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", c.Listen, err)
	}
	facts := map[string]string{"url": "http://" + l.Addr().String(), "data": c.Data, "version": version}
	if first != nil {
		facts["organization_id"], facts["user_email"], facts["api_key"] = first.Organization.ID, first.User.Email, first.APIKey
	}
	err = o.print(facts, func(w io.Writer) {
		if first != nil {
			fmt.Fprintf(w, "A new data directory: organization %s (%s), user %s.\nIts API key, shown only now:\n\n    %s\n\n", first.Organization.Name, first.Organization.ID, first.User.Email, first.APIKey)
		}
		fmt.Fprintf(w, "Varve serves %s from %s\n", facts["url"], c.Data)
	})
	if err != nil {
		return err
	}
	if err := v.Serve(ctx, l); err != nil {
		return err
	}
	return v.Close()
}

type initCmd struct {
	Data         string `help:"Directory to initialize." default:"varve-data" env:"VARVE_DATA" type:"path"`
	Organization string `help:"Name of the organization." required:"" env:"VARVE_ORGANIZATION"`
	Email        string `help:"E-mail address of its first user." required:"" env:"VARVE_EMAIL"`
}

// Run makes the organization; a directory that has one is refused.
func (c initCmd) Run(ctx context.Context, o output) error {
	v, err := serve.Open(ctx, serve.Config{Data: c.Data, LogLevel: "warn"})
	if err != nil {
		return err
	}
	made, err := v.Initialize(ctx, c.Organization, c.Email)
	if err = errors.Join(err, v.Close()); err != nil {
		return err
	}
	if made == nil {
		return fmt.Errorf("%s is initialized already: start it with varve serve --data %s", c.Data, c.Data)
	}
	return o.print(map[string]string{"organization_id": made.Organization.ID, "user_email": made.User.Email, "api_key": made.APIKey}, func(w io.Writer) {
		fmt.Fprintf(w, "organization_id: %s\nuser_email: %s\napi_key: %s\n\nThe key is not shown again. Next: varve serve --data %s\n", made.Organization.ID, made.User.Email, made.APIKey, c.Data)
	})
}
