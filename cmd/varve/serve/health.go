package serve

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"varve/domain"
	"varve/eventstore/bus"
	"varve/http"
	"varve/projections"
)

// statuses keeps where the read models are for a moment, for checks and scrapes
// that ask at the same time.
type statuses struct {
	mu  sync.Mutex
	at  time.Time
	all []projections.ModelStatus
}

// status is where every read model is, of the log and of execution records.
func (v *Varve) status() []projections.ModelStatus {
	v.statuses.mu.Lock()
	defer v.statuses.mu.Unlock()
	if time.Since(v.statuses.at) > 250*time.Millisecond {
		v.statuses.all = append(v.Models.Status(), v.Reads.Executions.Status()...)
		v.statuses.at = time.Now()
	}
	return v.statuses.all
}

// absent is a reason that may be shown to everybody.
func absent(format string, args ...any) error {
	return &domain.Error{Code: domain.CodeUnavailable, Message: fmt.Sprintf(format, args...)}
}

// dependencies are what /v1/health tells of. What is not required only degrades:
// without blobs or Kafka a server still answers, and records stay in the store.
func (v *Varve) dependencies() []http.Dependency {
	all := []http.Dependency{
		{Name: "store", Check: func(ctx context.Context) error { _, err := v.Store.Head(ctx, 0); return err }},
		{Name: "executions", Check: func(ctx context.Context) error { _, err := v.Executed.Head(ctx, 0); return err }},
		{Name: "models", Check: func(context.Context) error { return filled(v.status()) }},
		{Name: "feed", Optional: true, Check: func(context.Context) error { return following(v.status()) }},
		{Name: "blobs", Optional: true, Check: v.checkBlobs},
	}
	if v.index != nil {
		all = append(all, http.Dependency{Name: "index", Check: v.checkIndex()})
	}
	if v.Config.Bus != "" {
		all = append(all, http.Dependency{Name: "bus", Optional: true, Check: v.checkBus})
	}
	return all
}

// filled says which read models are being filled for the first time: what they
// answer is not complete.
func filled(all []projections.ModelStatus) error {
	var missing []string
	for _, m := range all {
		if m.Filling {
			missing = append(missing, fmt.Sprintf("%s %d of %d", m.Model, m.Applied, m.Head))
		}
	}
	if missing == nil {
		return nil
	}
	return absent("are being filled: %s", strings.Join(missing, ", "))
}

// following says which read models do not get on, and of which something is left out.
func following(all []projections.ModelStatus) error {
	var still []string
	for _, m := range all {
		switch {
		case m.Err != "":
			still = append(still, fmt.Sprintf("%s does not get on in shard %d", m.Model, m.Shard))
		case len(m.Parked) > 0:
			still = append(still, fmt.Sprintf("%s leaves out %d streams of shard %d", m.Model, len(m.Parked), m.Shard))
		}
	}
	if still == nil {
		return nil
	}
	return absent("%s; GET /v1/models has more", strings.Join(still, ", "))
}

// checkIndex is content once the index has reached what the feed held when it was
// first asked.
func (v *Varve) checkIndex() func(context.Context) error {
	var heads atomic.Pointer[map[int]uint64]
	return func(context.Context) error {
		goal := heads.Load()
		if goal != nil && len(*goal) == 0 {
			return nil
		}
		found, left := map[int]uint64{}, map[int]uint64{}
		var err error
		for _, m := range v.status() {
			if m.Model != indexModel {
				continue
			}
			found[m.Shard] = m.Head
			if goal != nil {
				found[m.Shard] = (*goal)[m.Shard]
			}
			if m.Applied < found[m.Shard] {
				left[m.Shard] = found[m.Shard]
				err = absent("is being read in: shard %d, %d of %d", m.Shard, m.Applied, found[m.Shard])
			}
		}
		heads.Store(&left)
		return err
	}
}

// indexModel is the name of the index among the models.
const indexModel = "index"

func (v *Varve) checkBlobs(ctx context.Context) error {
	_, err := v.Reads.Blobs.Exists(ctx, "health", "sha256:"+strings.Repeat("0", 64))
	return err
}

// checkBus asks whether a broker can be reached and the relays of this process get on.
func (v *Varve) checkBus(ctx context.Context) error {
	kafka, err := bus.ParseURL(v.Config.Bus)
	if err != nil {
		return err
	}
	reached := false
	for _, broker := range kafka.Brokers {
		each := net.Dialer{Timeout: 1500 * time.Millisecond / time.Duration(len(kafka.Brokers))}
		connection, err := each.DialContext(ctx, "tcp", broker)
		if err == nil {
			reached = true
			_ = connection.Close()
			break
		}
	}
	if !reached {
		return absent("no broker can be reached; records stay in the store and are published later")
	}
	for _, r := range v.Relays {
		for _, f := range r.Followers() {
			if f.Err() != nil {
				return absent("the relay does not get on in shard %d; records stay in the store and are published later", f.Shard)
			}
		}
	}
	return nil
}
