package retrieve

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"varve/domain"
)

// budgetLimits are a retriever's. Nothing here costs credits, so only the time counts.
type budgetLimits struct {
	MaxCredits *float64 `json:"max_credits" min:"0"`
	MaxTimeMS  int      `json:"max_time_ms" min:"1" max:"3600000"`
}

var errBudget = errors.New("time budget used up")

func parseBudget(raw json.RawMessage) (budgetLimits, error) {
	var b budgetLimits
	v, err := decodeTree(raw)
	if err != nil {
		return b, domain.Invalid("budget_limits", "json", "%s", err.Error())
	}
	return b, (&decoder{}).decode("budget_limits", v, &b)
}

// spend limits ctx to the budget's time.
func (b budgetLimits) spend(ctx context.Context) (context.Context, context.CancelFunc) {
	if b.MaxTimeMS == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, time.Duration(b.MaxTimeMS)*time.Millisecond, errBudget)
}

// overspent replaces the error of a run that the budget ended.
func (b budgetLimits) overspent(ctx context.Context, err error) error {
	if err == nil || !errors.Is(context.Cause(ctx), errBudget) {
		return err
	}
	e := domain.Errorf(domain.CodeUnavailable, "the retriever's budget of %d ms was used up before its stages were done; raise budget_limits.max_time_ms or lower top_k", b.MaxTimeMS)
	e.Reason, e.Err = "budget_exceeded", err
	return e
}
