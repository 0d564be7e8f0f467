package commands

import (
	"context"
	"strings"

	"varve/domain"
	"varve/eventstore"
)

// CreateNamespace opens a namespace's log.
type CreateNamespace struct {
	NamespaceID string // chosen by the client; empty: Varve chooses
	Name        string
	Settings    domain.NamespaceSettings
}

// CreateNamespace refuses a name or id in use with CodeConflict. Organization
// and namespace change in one append.
func (h *Handler) CreateNamespace(ctx context.Context, in In, cmd CreateNamespace) (domain.Namespace, error) {
	if err := domain.CheckName("namespace_name", cmd.Name, 3, 64); err != nil {
		return domain.Namespace{}, err
	}
	id := cmd.NamespaceID
	if id == "" {
		id = h.newID(in, domain.NamespacePrefix)
	}
	if err := domain.CheckNamespaceID("namespace_id", id); err != nil {
		return domain.Namespace{}, err
	}
	if cmd.Settings.Mode == "" {
		cmd.Settings.Mode = "managed"
	}
	log := "n-" + strings.TrimPrefix(domain.NewID(domain.NamespacePrefix, h.Entropy()), domain.NamespacePrefix) +
		strings.TrimPrefix(domain.NewID(domain.KeyPrefix, h.Entropy()), domain.KeyPrefix)
	records, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		o, _, err := h.Organizations.Head(ctx, in.Organization)
		if err != nil {
			return nil, err
		}
		if err := o.FreeNamespace(id, cmd.Name); err != nil {
			return nil, err
		}
		a, err := batchOf(in.Organization, domain.OrganizationStream, eventstore.Exactly(o.Version),
			&domain.NamespaceCreated{NamespaceID: id, Name: cmd.Name, Log: log})
		if err != nil {
			return nil, err
		}
		b, err := batchOf(eventstore.LogID(log), domain.ConfigStream, eventstore.New(), &domain.NamespaceConfigured{NamespaceSettings: cmd.Settings})
		return []eventstore.Batch{a, b}, err
	})
	if err != nil {
		return domain.Namespace{}, err
	}
	created, at, err := last[*domain.NamespaceCreated](records)
	if err != nil {
		return domain.Namespace{}, err
	}
	return domain.Namespace{ID: created.NamespaceID, Name: created.Name, Log: created.Log, CreatedAt: at.Time, UpdatedAt: at.Time}, nil
}

// UpdateNamespace changes name and settings; change gets the settings as they are.
type UpdateNamespace struct {
	NamespaceID string
	Name        *string
	Change      func(domain.NamespaceSettings) domain.NamespaceSettings // nil: no change
}

// UpdateNamespace changes the name in the organization's log and the settings
// in the namespace's own, in one append.
func (h *Handler) UpdateNamespace(ctx context.Context, in In, cmd UpdateNamespace) error {
	_, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		o, _, err := h.Organizations.Head(ctx, in.Organization)
		if err != nil {
			return nil, err
		}
		n, ok := o.Namespaces[cmd.NamespaceID]
		if !ok {
			return nil, domain.NotFound("namespace", cmd.NamespaceID)
		}
		cfg, _, err := h.Configs.Head(ctx, eventstore.LogID(n.Log))
		if err != nil {
			return nil, err
		}
		if err := matchVersion(in, cfg.Version); err != nil {
			return nil, err
		}
		var batches []eventstore.Batch
		if cmd.Name != nil && *cmd.Name != n.Name {
			if err := domain.CheckName("namespace_name", *cmd.Name, 3, 64); err != nil {
				return nil, err
			}
			if err := o.FreeNamespace("", *cmd.Name); err != nil {
				return nil, err
			}
			b, err := batchOf(in.Organization, domain.OrganizationStream, eventstore.Exactly(o.Version), &domain.NamespaceRenamed{NamespaceID: n.ID, Name: *cmd.Name})
			if err != nil {
				return nil, err
			}
			batches = append(batches, b)
		}
		if cmd.Change != nil {
			b, err := batchOf(eventstore.LogID(n.Log), domain.ConfigStream, eventstore.Exactly(cfg.Version), &domain.NamespaceConfigured{NamespaceSettings: cmd.Change(cfg.NamespaceSettings)})
			if err != nil {
				return nil, err
			}
			batches = append(batches, b)
		}
		return batches, nil
	})
	return err
}

// DeleteNamespace ends a namespace: its log is closed in the same append. While
// batches run it is refused unless force is set, which cancels nothing but
// makes them stop at the closed log.
func (h *Handler) DeleteNamespace(ctx context.Context, in In, namespaceID string, force bool) error {
	_, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		o, _, err := h.Organizations.Head(ctx, in.Organization)
		if err != nil {
			return nil, err
		}
		n, ok := o.Namespaces[namespaceID]
		if !ok {
			return nil, domain.NotFound("namespace", namespaceID)
		}
		log := eventstore.LogID(n.Log)
		if !force {
			active, err := h.ActiveBatches(ctx)
			if err != nil {
				return nil, err
			}
			for _, b := range active {
				if b.Log == log {
					return nil, &domain.Error{Code: domain.CodeConflict, Reason: "active_batches", Message: "batch " + b.BatchID + " is running in this namespace; wait for it, cancel it, or pass force=true"}
				}
			}
		}
		cfg, _, err := h.Configs.Head(ctx, log)
		if err != nil {
			return nil, err
		}
		a, err := batchOf(in.Organization, domain.OrganizationStream, eventstore.Exactly(o.Version), &domain.NamespaceDeleted{NamespaceID: n.ID})
		if err != nil {
			return nil, err
		}
		b, err := batchOf(log, domain.ConfigStream, eventstore.Exactly(cfg.Version), &domain.NamespaceClosed{})
		b.Close = true
		return []eventstore.Batch{a, b}, err
	})
	return err
}
