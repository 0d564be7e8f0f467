package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	nethttp "net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"varve/cmd/varve/metrics"
	"varve/eventstore"
	"varve/eventstore/follow"
	"varve/eventstore/tracing"
)

// observing is how a server is seen from outside.
type observing struct {
	metrics  *metrics.Metrics
	provider trace.TracerProvider        // of spans; nil: none are made
	flush    func(context.Context) error // sends what was recorded; nil: there is nothing to send
	listener net.Listener                // of --metrics-listen; nil: none
	statuses statuses
}

// observe begins to watch, before anything is opened that is watched.
func (v *Varve) observe(ctx context.Context) (err error) {
	c := v.Config
	v.metrics = metrics.New(metrics.Build{Version: c.Version, Store: scheme(c.Store, "sqlite"), Bus: scheme(c.Bus, "none"), Blobs: scheme(c.Blobs, "files")})
	if v.provider = c.Tracing; v.provider == nil {
		if v.provider, v.flush, err = openTracing(ctx, c.Version, v.log); err != nil {
			return err
		}
	}
	if c.MetricsListen == "" {
		return nil
	}
	if v.listener, err = net.Listen("tcp", c.MetricsListen); err != nil {
		return fmt.Errorf("--metrics-listen: %w", err)
	}
	return nil
}

// scheme is the kind of a place that an address names, and never more of it.
func scheme(address, otherwise string) string {
	kind, _, named := strings.Cut(address, "://")
	if !named {
		return otherwise
	}
	return kind
}

// MetricsAddr is where --metrics-listen is listened to; "" where it is not.
func (v *Varve) MetricsAddr() string {
	if v.listener == nil {
		return ""
	}
	return v.listener.Addr().String()
}

// watched makes a store whose appends are counted, and traced where requests are.
func (v *Varve) watched(name string, o eventstore.Owner) eventstore.Owner {
	o = v.metrics.Store(name, o)
	if v.provider != nil {
		o = tracing.Store(o)
	}
	return o
}

// applied observes what read models and indexes apply.
func (v *Varve) applied() follow.Observer {
	return follow.Observers(v.metrics.Pages(), v.pages(trace.SpanKindConsumer, func(model string) string { return "apply " + model }))
}

// published observes what a relay publishes to a topic.
func (v *Varve) published(relay, topic string) follow.Observer {
	store := "log"
	if relay != "relay" {
		store = "executions"
	}
	topic = cmp.Or(topic, "varve.events")
	return follow.Observers(v.metrics.Relay(store), v.pages(trace.SpanKindProducer, func(string) string { return "publish " + topic }))
}

func (v *Varve) pages(kind trace.SpanKind, name func(string) string) follow.Observer {
	if v.provider == nil {
		return nil
	}
	return tracing.Pages(v.provider, kind, name)
}

// tracer makes the spans of requests; nil where there are none.
func (v *Varve) tracer() trace.Tracer {
	if v.provider == nil {
		return nil
	}
	return v.provider.Tracer(tracing.Scope)
}

// watch lets scrapes look up what is not counted where it happens.
func (v *Varve) watch() {
	s := metrics.Sources{
		Stores: map[string]eventstore.Follower{"log": v.Store, "executions": v.Executed},
		Models: v.status, Relays: map[string][]*follow.Follower{}, Health: v.API.Health,
	}
	if v.Config.has(RoleWorker) {
		s.Topics = v.topicCounts
	}
	if v.Reads.Batches != nil {
		s.Batches = v.Reads.Batches.Active
	}
	if v.index != nil {
		s.Index = v.indexed
	}
	for _, r := range v.Relays {
		name := "log"
		if r.Store == eventstore.Follower(v.Executed) {
			name = "executions"
		}
		s.Relays[name] = r.Followers()
	}
	v.metrics.Watch(s)
}

// indexed is what the index holds, by the ids of namespaces that clients know.
func (v *Varve) indexed(ctx context.Context) (metrics.Index, error) {
	stats := v.index.Stats()
	x := metrics.Index{UsedBytes: stats.Memory, CacheBytes: stats.CacheBytes}
	if len(stats.Logs) == 0 {
		return x, nil
	}
	entries, err := v.Reads.Directory.NamespaceLogs(ctx)
	if err != nil {
		return x, err
	}
	ids := make(map[eventstore.LogID]string, len(entries))
	for _, n := range entries {
		ids[n.Log] = n.NamespaceID
	}
	gone := metrics.IndexedNamespace{Name: "deleted"} // or not known yet
	for _, l := range stats.Logs {
		n := metrics.IndexedNamespace{Name: ids[l.Log], Memory: l.Memory, Bytes: l.Bytes, Rows: l.Rows, Loaded: l.Loaded, Loading: l.Loading}
		if n.Name != "" {
			x.Namespaces = append(x.Namespaces, n)
			continue
		}
		gone.Memory, gone.Bytes, gone.Rows = gone.Memory+n.Memory, gone.Bytes+n.Bytes, gone.Rows+n.Rows
		gone.Loaded = gone.Loaded || n.Loaded
	}
	if gone.Rows > 0 || gone.Bytes > 0 {
		x.Namespaces = append(x.Namespaces, gone)
	}
	return x, nil
}

// observed puts /metrics beside the API on the listener's address, for whom the
// configuration lets see it; to others it is a path that does not exist.
func (v *Varve) observed(api nethttp.Handler, at net.Addr) nethttp.Handler {
	api, scrapes := v.metrics.InFlight(api), v.metrics.Handler(v.log)
	ip := net.IP(nil)
	if tcp, ok := at.(*net.TCPAddr); ok {
		ip = tcp.IP
	}
	open := func(r *nethttp.Request) bool {
		switch cmp.Or(v.Config.Metrics, "auto") {
		case "on":
			return true
		case "auto": // what a proxy passes on comes from elsewhere
			return ip.IsLoopback() && r.Header.Get("Forwarded") == "" && r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Via") == ""
		}
		return false
	}
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.URL.Path == "/metrics" && open(r) {
			scrapes.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

// serveMetrics answers on --metrics-listen, with metrics and health and nothing
// else, until the function that it gives is called.
func (v *Varve) serveMetrics() (stop func()) {
	if v.listener == nil {
		return func() {}
	}
	paths := nethttp.NewServeMux()
	paths.Handle("GET /metrics", v.metrics.Handler(v.log))
	paths.Handle("GET /v1/health", v.API.Handler())
	paths.Handle("GET /v1/health/", v.API.Handler())
	server := &nethttp.Server{Handler: paths, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(v.log.Handler(), slog.LevelDebug)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(v.listener); err != nethttp.ErrServerClosed {
			v.log.Error("metrics are not served any more", slog.Any("error", err))
		}
	}()
	return func() { _ = server.Close(); <-done }
}

// unobserve sends the spans that are left. Where nobody takes them, that is no
// reason to end as failed.
func (v *Varve) unobserve() (err error) {
	if v.listener != nil {
		if err = v.listener.Close(); errors.Is(err, net.ErrClosed) {
			err = nil // with what served it
		}
	}
	if v.flush == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if failed := v.flush(ctx); failed != nil {
		v.log.Warn("traces are not sent", slog.Any("error", failed))
	}
	return err
}
