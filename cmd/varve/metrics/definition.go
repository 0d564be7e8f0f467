package metrics

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// definition is one metric: the one place of its name, meaning, labels and buckets.
type definition struct {
	name, kind, help string
	labels           []string
	buckets          []float64
	desc             *prometheus.Desc
}

var definitions []*definition

func define(kind, name, help string, labels ...string) *definition {
	d := &definition{name: "varve_" + name, kind: kind, help: help, labels: labels}
	d.desc = prometheus.NewDesc(d.name, help, labels, nil)
	definitions = append(definitions, d)
	return d
}

func counter(name, help string, labels ...string) *definition {
	return define("counter", name, help, labels...)
}
func gauge(name, help string, labels ...string) *definition {
	return define("gauge", name, help, labels...)
}
func histogram(buckets []float64, name, help string, labels ...string) *definition {
	d := define("histogram", name, help, labels...)
	d.buckets = buckets
	return d
}

// Buckets: seconds of a request or append, of a page, and sizes of a commit.
var (
	seconds = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	sizes   = []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096}
)

var (
	httpRequests = counter("http_requests_total", "Requests answered. The route is a pattern, or unmatched; a status of none means that the caller went away first.", "method", "route", "status")
	httpDuration = histogram(seconds, "http_request_duration_seconds", "Time from a request's headers to the end of its answer.", "method", "route")
	httpReceived = counter("http_request_body_bytes_total", "Bytes of request bodies that were read.", "method", "route")
	httpSent     = counter("http_response_body_bytes_total", "Bytes of answers' bodies.", "method", "route")
	httpInFlight = gauge("http_requests_in_flight", "Requests being answered now.")

	appends        = counter("appends_total", "Appends by what came of them: ok, replayed (under an idempotency key), conflict, overloaded, closed, idempotency, no_space, unknown, canceled, error. The store is log or executions.", "store", "outcome")
	appendDuration = histogram(seconds, "append_duration_seconds", "Time from an append's call until it is durable and answered, waiting in the queue included; successful ones. Of store executions: recording an execution.", "store")
	appendedEvents = counter("appended_events_total", "Records appended by this process, by event type (other: a type that is not registered).", "store", "type")
	commitDuration = histogram(seconds, "commit_duration_seconds", "Time of one transaction, which commits all appends that queued meanwhile.", "store")
	commitAppends  = histogram(sizes, "commit_appends", "Appends in one transaction.", "store")
	commitRecords  = histogram(sizes, "commit_records", "Records in one transaction.", "store")
	commitRaces    = counter("commit_races_total", "Transactions done again because another process was first.", "store")
	feedHead       = gauge("feed_head", "Feed position of a shard's newest record.", "store", "shard")

	pageDuration = histogram(seconds, "follower_page_duration_seconds", "Time to apply a page of records to a read model or index.", "model")
	pageRecords  = counter("follower_records_total", "Records applied while following.", "model")
	pageErrors   = counter("follower_errors_total", "Pages that could not be applied and are tried again, or whose event is parked.", "model")
	modelApplied = gauge("model_applied", "Feed position that a read model or index has applied.", "model", "shard")
	modelLag     = gauge("model_lag_events", "Records that a read model or index has not applied.", "model", "shard")
	modelSeconds = gauge("model_lag_seconds", "Age of the oldest record that is not applied; 0 where all are.", "model", "shard")
	modelParked  = gauge("model_parked_streams", "Streams whose events are left out because one could not be applied.", "model", "shard")
	modelFailing = gauge("model_failing", "1 while a read model does not get on.", "model", "shard")
	modelFilling = gauge("model_filling", "1 while a read model is filled for the first time; model_applied is how far it is.", "model", "shard")
	modelRate    = gauge("model_filled_events_per_second", "How fast a read model is being filled or rebuilt; 0 where it is not.", "model", "shard")
	modelRebuild = gauge("model_rebuilding", "1 while a read model is built anew beside the one that serves.", "model", "shard")
	modelBuilt   = gauge("model_built_ratio", "Part of the records that are in what is being filled or rebuilt, of all shards; 1 where nothing is.", "model", "shard")

	relayPublished = counter("relay_published_total", "Records acknowledged by Kafka, those published again among them.", "store")
	relayRetries   = counter("relay_retries_total", "Pages that Kafka did not take whole, and that are tried again.", "store")
	relayDuration  = histogram(seconds, "relay_page_duration_seconds", "Time until a page of records is acknowledged by Kafka.", "store")
	relayPosition  = gauge("relay_published_position", "Feed position up to which everything is acknowledged by Kafka.", "store", "shard")
	relayLag       = gauge("relay_lag_events", "Records that are not published yet.", "store", "shard")
	relaySeconds   = gauge("relay_lag_seconds", "Age of the oldest record that is not published; 0 where all are.", "store", "shard")
	relayFailing   = gauge("relay_failing", "1 while the relay does not get on.", "store", "shard")

	batchesActive = gauge("batches_active", "Batches submitted and not ended, of all namespaces.")
	batchObjects  = gauge("batch_objects", "Objects of the active batches: pending, done, failed.", "state")

	topicsRead    = gauge("topics_read", "Customers' topics that this process reads, or tries to: reading, failing.", "state")
	topicMessages = gauge("topics_messages", "Messages of customers' topics since each was begun to be read here: taken (as objects, repeats among them), refused (to the dead-letter topic).", "outcome")
	topicLag      = gauge("topics_lag_messages", "Messages written and not taken, in the partitions that Kafka gave to this process.")

	indexMemory     = gauge("index_memory_bytes", "Bytes of memory that the index of a namespace takes: what is not in segments yet, and what segments take beside their files; the 50 largest namespaces by name, the rest as other.", "namespace")
	indexBytes      = gauge("index_segment_bytes", "Bytes of an index's segment files, which are mapped; namespaces as in index_memory_bytes.", "namespace")
	indexRows       = gauge("index_rows", "Document versions in an index; namespaces as in index_memory_bytes.", "namespace")
	indexUsed       = gauge("index_used_bytes", "Bytes of memory of all indexes and the cache: what the memory budget bounds.")
	indexCache      = gauge("index_cache_bytes", "Bytes of memory that hold decoded postings and columns.")
	indexNamespaces = gauge("index_namespaces", "Namespaces whose index is loaded, loading or not loaded.", "state")

	dependencyUp = gauge("dependency_up", "1 where a dependency answered the last health check.", "dependency")
	collectorUp  = gauge("collector_up", "1 where a group of metrics could be looked up in time for this scrape; the group is left out otherwise.", "collector")
	buildInfo    = gauge("build_info", "Always 1; the labels say which program runs, and with which kinds of store, bus and blobs.", "version", "goversion", "store", "bus", "blobs")
)

func (d *definition) counters(m *Metrics) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.name, Help: d.help}, d.labels)
	m.registry.MustRegister(v)
	return v
}

func (d *definition) gauges(m *Metrics) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: d.name, Help: d.help}, d.labels)
	m.registry.MustRegister(v)
	return v
}

func (d *definition) histograms(m *Metrics) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: d.name, Help: d.help, Buckets: d.buckets}, d.labels)
	m.registry.MustRegister(v)
	return v
}

// is is a value looked up for a scrape.
func (d *definition) is(value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d.desc, prometheus.GaugeValue, value, labels...)
}

// Table is the documentation of all metrics, in Markdown.
func Table() string {
	var b strings.Builder
	b.WriteString("| metric | kind | labels | what it says |\n|---|---|---|---|\n")
	sorted := slices.Clone(definitions)
	slices.SortFunc(sorted, func(x, y *definition) int { return strings.Compare(x.name, y.name) })
	for _, d := range sorted {
		labels := "—"
		if len(d.labels) > 0 {
			labels = "`" + strings.Join(d.labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.name, d.kind, labels, d.help)
	}
	return b.String()
}
