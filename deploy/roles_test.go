package deploy_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"varve/eventstore/servertest"
)

// Each role of docker-compose.yml becomes ready with the environment that stands
// there, its servers' addresses replaced by those of the tests': a database, a
// topic and files of its own. It is asked as the container's health check asks,
// shows its metrics where Prometheus looks, and ends by itself on SIGTERM.
func TestComposeRuns(t *testing.T) {
	binary, postgres, kafka, s3 := os.Getenv("VARVE_BINARY"), os.Getenv("VARVE_TEST_POSTGRES"), os.Getenv("VARVE_TEST_KAFKA"), os.Getenv("VARVE_TEST_S3")
	if binary == "" || postgres == "" || kafka == "" || s3 == "" {
		t.Skip("VARVE_BINARY, VARVE_TEST_POSTGRES, VARVE_TEST_KAFKA or VARVE_TEST_S3 is not set: make test does")
	}
	of, err := url.Parse(s3)
	if err != nil {
		t.Fatal(err)
	}
	where := strings.NewReplacer(
		"postgres://varve:varve@postgres:5432/varve?sslmode=disable", servertest.Database(t, postgres),
		"kafka:9092?topic=varve.events", kafka+"?topic=varve.test."+rand.Text(),
		"http://s3:7070", of.Query().Get("endpoint"),
	)
	p := load(t, "../docker-compose.yml", nil)
	type process struct{ api, metrics string }
	running, outputs := map[string]process{}, []string{}
	for _, role := range roles { // all at once, on an empty database
		of := process{free(t), free(t)}
		running[role] = of
		environment := []string{"HOME=" + t.TempDir(), "VARVE_DATA=" + filepath.Join(t.TempDir(), "data")}
		for name, value := range p.Services[role].Environment {
			text := where.Replace(*value)
			switch name {
			case "VARVE_LISTEN":
				text = of.api
			case "VARVE_METRICS_LISTEN":
				text = of.metrics
			}
			environment = append(environment, name+"="+text)
		}
		outputs = append(outputs, serving(t, role, binary, environment))
	}
	for role, of := range running {
		if check := p.Services[role].HealthCheck.Test; len(check) != 3 || check[2] != "health" {
			t.Errorf("%s is checked by %v", role, check)
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			check := exec.Command(binary, "health")
			check.Env = []string{"VARVE_URL=http://" + of.api}
			text, err := check.CombinedOutput()
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is not ready: %s", role, text)
			}
		}
		if text := page(t, "http://"+of.metrics+"/metrics"); !strings.Contains(text, "varve_build_info{") || !strings.Contains(text, `bus="kafka"`) || !strings.Contains(text, `store="postgres"`) {
			t.Errorf("%s shows no metrics, or of something else", role)
		}
	}
	keys := 0
	for _, file := range outputs {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		keys += strings.Count(string(text), "sk_live_")
	}
	if keys != 1 {
		t.Errorf("%d first keys were printed", keys)
	}
}

// serving starts a process that must end by itself on SIGTERM after the test, and
// gives the file of its output.
func serving(t *testing.T, role, binary string, environment []string) (output string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), role))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "serve")
	cmd.Env, cmd.Stdout, cmd.Stderr = environment, file, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%s on SIGTERM: %v", role, err)
			}
		case <-time.After(40 * time.Second):
			t.Errorf("%s does not end on SIGTERM within its grace", role)
			_ = cmd.Process.Kill()
		}
		if t.Failed() {
			text, _ := os.ReadFile(file.Name())
			t.Logf("%s:\n%s", role, text)
		}
		file.Close()
	})
	return file.Name()
}

// free is an address where nobody listens.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr())
}

func page(t *testing.T, address string) string {
	t.Helper()
	r, err := http.Get(address) //nolint:gosec,noctx // of the test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
