// Package serve puts the rooms together: store → read models → index →
// commands → HTTP, and takes them apart in reverse.
package serve

import (
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Config is every setting of a server. Each is a flag and an environment
// variable VARVE_… of the same name.
type Config struct {
	Data          string               `help:"Directory of everything that the server keeps." default:"varve-data" env:"VARVE_DATA" type:"path"`
	Listen        string               `help:"Address to serve HTTP on; port 0 chooses a free one." default:"127.0.0.1:8080" env:"VARVE_LISTEN"`
	Store         string               `help:"Where the log is: empty for a file in --data, or a PostgreSQL server (postgres://user@host/database)." env:"VARVE_STORE"`
	Bus           string               `help:"Where every record is published too: empty for nowhere, or Kafka (kafka://host:port?topic=varve.events)." env:"VARVE_BUS"`
	FollowBus     bool                 `help:"Read models and index take records from Kafka where they come in order, and from the database otherwise: less to do for the database of many processes, and later by what the relay takes." env:"VARVE_FOLLOW_BUS"`
	Blobs         string               `help:"Where blobs are: empty for files in --data, or a bucket of an S3 server (s3://bucket?region=us-east-1); credentials come from the standard AWS environment." env:"VARVE_BLOBS"`
	Roles         []string             `help:"What this process does, of api, projector, relay and worker; none named: everything. Some alone need --store postgres://…" env:"VARVE_ROLES"`
	Shards        int                  `help:"Shards of a log that is made here, each a Kafka partition, a feed and an order of its own; 0: one, or what the log has." default:"0" env:"VARVE_SHARDS"`
	Organization  string               `help:"Name of the organization that an empty directory begins with." default:"Varve" env:"VARVE_ORGANIZATION"`
	Email         string               `help:"E-mail address of its first user." default:"admin@localhost.localdomain" env:"VARVE_EMAIL"`
	Workers       int                  `help:"Objects that are extracted at once." default:"8" env:"VARVE_WORKERS"`
	IndexMemory   int64                `help:"Megabytes of memory that the index may hold; over it, the namespaces used longest ago are dropped and loaded again when they are asked about. 0: no limit." default:"0" env:"VARVE_INDEX_MEMORY"`
	ReadWait      time.Duration        `help:"How long a read waits for read models that are behind; then it is answered from where they are, and says how far behind that is." default:"2s" env:"VARVE_READ_WAIT"`
	AllowPrivate  bool                 `help:"Fetch blobs from private and loopback addresses too." env:"VARVE_ALLOW_PRIVATE"`
	Files         string               `help:"Directory below which blobs may be local files (file:// URLs); empty: none." env:"VARVE_FILES" type:"path"`
	MaxBody       int64                `help:"Most bytes of a request body." default:"16777216" env:"VARVE_MAX_BODY"`
	RateLimit     int                  `help:"Requests a minute of one key, per class; -1: no limit." default:"-1" env:"VARVE_RATE_LIMIT"`
	Drain         time.Duration        `help:"How long requests under way may take when the server stops." default:"10s" env:"VARVE_DRAIN"`
	LogLevel      string               `help:"What is logged: debug, info, warn, error." enum:"debug,info,warn,error" default:"info" env:"VARVE_LOG_LEVEL"`
	Version       string               `kong:"-"` // of the build, shown by /v1/health
	Metrics       string               `help:"Who may read /metrics on --listen: auto (who reaches a loopback address, not by a proxy), on (everybody), off." enum:"auto,on,off" default:"auto" env:"VARVE_METRICS"`
	MetricsListen string               `help:"Address to serve /metrics and /v1/health on as well, and nothing else; port 0 chooses a free one." env:"VARVE_METRICS_LISTEN"`
	Tracing       trace.TracerProvider `kong:"-"` // of spans; nil: what OpenTelemetry's environment asks for
	LogFormat     string               `help:"How it is logged: text, json." enum:"text,json" default:"text" env:"VARVE_LOG_FORMAT"`
}
