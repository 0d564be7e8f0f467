package serve_test

import (
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"varve/cmd/varve/serve"
	"varve/eventstore/servertest"
)

// wire is a network between a server and what it depends on, which can be cut,
// or fall silent.
type wire struct {
	t       *testing.T
	to, at  string
	mu      sync.Mutex
	l       net.Listener
	open    []net.Conn
	silent  bool
	running sync.WaitGroup
}

func newWire(t *testing.T, to string) *wire {
	w := &wire{t: t, to: to, at: "127.0.0.1:0"}
	w.mend()
	t.Cleanup(func() { w.cut(); w.running.Wait() })
	return w
}

// mend lets connections through.
func (w *wire) mend() {
	l, err := net.Listen("tcp", w.at)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.l, w.at, w.silent = l, l.Addr().String(), false
	w.mu.Unlock()
	w.running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", w.to)
			if err != nil {
				_ = in.Close()
				continue
			}
			w.mu.Lock()
			w.open = append(w.open, in, out)
			w.mu.Unlock()
			w.running.Go(func() { w.pass(out, in) })
			w.running.Go(func() { w.pass(in, out) })
		}
	})
}

// pass copies until a side closes; what comes while the wire is silent is lost.
func (w *wire) pass(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		w.mu.Lock()
		silent := w.silent
		w.mu.Unlock()
		if n > 0 && !silent {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (w *wire) hush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = true
}

// cut closes everything.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.l.Close()
	for _, c := range w.open {
		_ = c.Close()
	}
	w.open = nil
}

// Without its database a server lives and is not ready, says so within three
// seconds even where the network only falls silent, and is ready again by itself.
func TestHealthWithoutPostgres(t *testing.T) {
	server := os.Getenv("VARVE_TEST_POSTGRES")
	if server == "" {
		t.Skip("VARVE_TEST_POSTGRES names no server: make test starts one")
	}
	u, err := url.Parse(servertest.Database(t, server))
	if err != nil {
		t.Fatal(err)
	}
	network := newWire(t, u.Host)
	u.Host = network.at
	r := serving(t, func(c *serve.Config) { c.Store = u.String() })
	ready := func() (int, string) {
		began := time.Now()
		status, body := r.ask(t, "GET", "/v1/health/ready", "")
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("readiness took %s", took)
		}
		if strings.Contains(body, u.Host) || strings.Contains(body, u.User.String()) {
			t.Errorf("readiness tells of the server: %s", body)
		}
		return status, body
	}
	eventually(t, "ready", func() bool { status, _ := ready(); return status == 200 })
	for _, fault := range []struct {
		name string
		does func()
	}{{"cut", network.cut}, {"silent", network.hush}} {
		fault.does()
		eventually(t, "unready, "+fault.name, func() bool {
			status, body := ready()
			return status == 503 && strings.Contains(body, "store ") && strings.Contains(body, "executions ")
		})
		if status, _ := r.ask(t, "GET", "/v1/health/live", ""); status != 200 {
			t.Errorf("%s: alive: %d", fault.name, status)
		}
		began := time.Now()
		if status, text := r.ask(t, "GET", "/metrics", ""); status != 200 || !strings.Contains(text, `varve_dependency_up{dependency="store"} 0`) || time.Since(began) > 4*time.Second {
			t.Errorf("%s: metrics: %d after %s", fault.name, status, time.Since(began))
		}
		network.cut()
		network.mend()
		eventually(t, "ready again after "+fault.name, func() bool { status, _ := ready(); return status == 200 })
	}
}

// While read models are filled anew a server is not ready, and afterwards it is.
func TestNotReadyWhileModelsAreFilled(t *testing.T) {
	ctx, data := t.Context(), filepath.Join(t.TempDir(), "data")
	w := newWorld(t, data)
	chance := rand.New(rand.NewPCG(9, 9))
	for range 100 {
		if err := w.write(ctx, chance, 100); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.v.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(data, "models")); err != nil {
		t.Fatal(err)
	}
	v := openWorld(t, data)
	defer v.Close()
	if got := v.API.Health(ctx)["models"]; !strings.HasPrefix(got, "are being filled: ") {
		t.Errorf("models: %q", got)
	}
	eventually(t, "filled", func() bool { return v.API.Health(ctx)["models"] == "" && v.API.Health(ctx)["index"] == "" })
}

// Without its blobs a server is degraded and ready, cut off or silent.
func TestHealthWithoutBlobs(t *testing.T) {
	bucket := os.Getenv("VARVE_TEST_S3")
	if bucket == "" {
		t.Skip("VARVE_TEST_S3 names no bucket: make test starts a server")
	}
	u, err := url.Parse(bucket)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	endpoint, err := url.Parse(query.Get("endpoint"))
	if err != nil {
		t.Fatal(err)
	}
	network := newWire(t, endpoint.Host)
	query.Set("endpoint", "http://"+network.at)
	u.RawQuery = query.Encode()
	r := serving(t, func(c *serve.Config) { c.Blobs = u.String() })
	is := func(status string, ok bool) func() bool {
		return func() bool {
			began := time.Now()
			code, body := r.ask(t, "GET", "/v1/health/ready", "")
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("readiness took %s", took)
			}
			if code != 200 && strings.Contains(body, "not ready: blobs") {
				t.Errorf("%d %s", code, body)
			}
			var h struct {
				Status       string
				Ready        bool
				Dependencies map[string]struct{ OK bool }
			}
			return json.Unmarshal([]byte(body), &h) == nil && h.Status == status && h.Ready && h.Dependencies["blobs"].OK == ok
		}
	}
	eventually(t, "healthy", is("OK", true))
	for _, fault := range []func(){network.cut, network.hush} {
		fault()
		eventually(t, "degraded", is("DEGRADED", false))
		network.cut()
		network.mend()
		eventually(t, "healthy again", is("OK", true))
	}
}
