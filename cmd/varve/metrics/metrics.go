// Package metrics keeps what a server tells Prometheus of itself: counted where
// it happens, or looked up when somebody asks. Every label has few values: routes
// are patterns, event types are those that are registered, and of namespaces only
// the largest are named.
package metrics

import (
	"log/slog"
	nethttp "net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"varve/http"
)

// Metrics are one server's. All methods are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	inFlight atomic.Int64
	requests sync.Map // requestKey → *request
	routes   atomic.Int64

	httpRequests, httpReceived, httpSent *prometheus.CounterVec
	httpDuration                         *prometheus.HistogramVec

	appends, races, events       *prometheus.CounterVec
	appendDuration               *prometheus.HistogramVec
	commitDuration               *prometheus.HistogramVec
	commitAppends, commitRecords *prometheus.HistogramVec
	pageDuration                 *prometheus.HistogramVec
	pageRecords, pageErrors      *prometheus.CounterVec
	relayPublished, relayRetries *prometheus.CounterVec
	relayDuration                *prometheus.HistogramVec
	watched                      sync.Once
}

// Build says which program runs, and on what.
type Build struct{ Version, Store, Bus, Blobs string }

// New makes the metrics of a server, those of the Go runtime and the process among them.
func New(b Build) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.httpRequests, m.httpDuration = httpRequests.counters(m), httpDuration.histograms(m)
	m.httpReceived, m.httpSent = httpReceived.counters(m), httpSent.counters(m)
	m.appends, m.races, m.events, m.appendDuration = appends.counters(m), commitRaces.counters(m), appendedEvents.counters(m), appendDuration.histograms(m)
	m.commitDuration, m.commitAppends, m.commitRecords = commitDuration.histograms(m), commitAppends.histograms(m), commitRecords.histograms(m)
	m.pageDuration, m.pageRecords, m.pageErrors = pageDuration.histograms(m), pageRecords.counters(m), pageErrors.counters(m)
	m.relayPublished, m.relayRetries, m.relayDuration = relayPublished.counters(m), relayRetries.counters(m), relayDuration.histograms(m)
	buildInfo.gauges(m).WithLabelValues(b.Version, runtime.Version(), b.Store, b.Bus, b.Blobs).Set(1)
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: httpInFlight.name, Help: httpInFlight.help}, func() float64 { return float64(m.inFlight.Load()) }))
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler answers scrapes, at most a few at a time, and not longer than ten seconds each.
func (m *Metrics) Handler(log *slog.Logger) nethttp.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		MaxRequestsInFlight: 4, Timeout: 10 * time.Second, EnableOpenMetrics: true})
}

// Gatherer gives the metrics to whoever reads them in this process.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// InFlight counts the requests that a handler is answering.
func (m *Metrics) InFlight(h nethttp.Handler) nethttp.Handler {
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		m.inFlight.Add(1)
		defer m.inFlight.Add(-1)
		h.ServeHTTP(w, r)
	})
}

// requestKey is what requests are told apart by.
type requestKey struct {
	operation, method string
	status            int
}

// request is where requests of one kind are counted.
type request struct {
	count, received, sent prometheus.Counter
	duration              prometheus.Observer
}

// maxRoutes bounds routes, methods and statuses together, whatever the routes are.
const maxRoutes = 10_000

// Request counts an answered request: it is http.Deps.Observe.
func (m *Metrics) Request(o http.Observation) {
	k := requestKey{o.Operation, o.Method, o.Status}
	known, ok := m.requests.Load(k)
	if !ok {
		known = m.kind(k)
	}
	r := known.(*request)
	r.count.Inc()
	r.received.Add(float64(o.Received))
	r.sent.Add(float64(o.Sent))
	r.duration.Observe(o.Duration.Seconds())
}

func (m *Metrics) kind(k requestKey) any {
	_, route, matched := strings.Cut(k.operation, " ")
	if !matched {
		route = "unmatched" // never the path, of which there are as many as there are callers
	}
	if m.routes.Load() >= maxRoutes {
		route, k = "other", requestKey{"other", k.method, k.status}
	}
	status := strconv.Itoa(k.status)
	if k.status == 0 {
		status = "none" // the caller went away before an answer began
	}
	r, twice := m.requests.LoadOrStore(k, &request{
		m.httpRequests.WithLabelValues(k.method, route, status), m.httpReceived.WithLabelValues(k.method, route),
		m.httpSent.WithLabelValues(k.method, route), m.httpDuration.WithLabelValues(k.method, route),
	})
	if !twice {
		m.routes.Add(1)
	}
	return r
}
