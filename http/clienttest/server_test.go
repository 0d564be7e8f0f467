package clienttest

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// server is a running varve on a directory of its own.
type server struct {
	address      string // http://127.0.0.1:port
	organization string
	email        string
	key          string
}

// boot initializes an installation with the real binary and serves it until the
// test ends. The server's log is shown when the test fails.
func boot(t *testing.T, flags ...string) server {
	t.Helper()
	binary, data, listen := build(t), filepath.Join(t.TempDir(), "data"), freeAddress(t)
	s := server{email: "owner@example.org", address: "http://" + listen}
	facts := []string{"--json", "--data", data, "--organization", "Client Suite", "--email", s.email}
	if len(flags) == 0 {
		initialize := exec.Command(binary, append([]string{"init"}, facts...)...)
		var complaints bytes.Buffer
		initialize.Stderr = &complaints
		printed, err := initialize.Output()
		if err != nil {
			t.Fatalf("varve init: %v\n%s", err, complaints.String())
		}
		s.took(t, printed)
		serve(t, binary, data, listen)
		return s
	}
	s.took(t, serve(t, binary, data, listen, append(flags, facts...)...))
	return s
}

// took reads what is said once of a new organization.
func (s *server) took(t *testing.T, printed []byte) {
	t.Helper()
	var made struct {
		OrganizationID string `json:"organization_id"`
		UserEmail      string `json:"user_email"`
		APIKey         string `json:"api_key"`
	}
	if err := json.NewDecoder(bytes.NewReader(printed)).Decode(&made); err != nil {
		t.Fatalf("with --json %q was printed: %v", printed, err)
	}
	if made.OrganizationID == "" || made.APIKey == "" || made.UserEmail != s.email {
		t.Fatalf("something was left out: organization_id %q, user_email %q, api_key given: %t", made.OrganizationID, made.UserEmail, made.APIKey != "")
	}
	s.organization, s.key = made.OrganizationID, made.APIKey
}

// build gives the binary under test: that of VARVE_BINARY, or one built now.
func build(t *testing.T) string {
	t.Helper()
	if given := os.Getenv("VARVE_BINARY"); given != "" {
		if _, err := os.Stat(given); err != nil {
			t.Fatalf("VARVE_BINARY: %v", err)
		}
		return given
	}
	binary := filepath.Join(t.TempDir(), "varve")
	if out, err := exec.Command("go", "build", "-o", binary, "varve/cmd/varve").CombinedOutput(); err != nil {
		t.Fatalf("go build varve/cmd/varve: %v\n%s", err, out)
	}
	return binary
}

// serve starts the server, waits until it is ready, and stops it at the end:
// it must then end by itself, with status 0. It gives what was printed until then.
func serve(t *testing.T, binary, data, listen string, flags ...string) []byte {
	t.Helper()
	var log, printed bytes.Buffer
	command := exec.Command(binary, append([]string{"serve", "--data", data, "--listen", listen, "--read-wait", "1m"}, flags...)...)
	command.Stdout, command.Stderr = &printed, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("varve serve ended badly after SIGTERM: %v", err)
			}
		case <-time.After(time.Minute):
			_ = command.Process.Kill()
			<-ended
			t.Error("varve serve did not end within a minute of SIGTERM")
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", tail(log.Bytes(), 8000))
		}
	})
	deadline := time.After(time.Minute)
	for !healthy(t.Context(), "http://"+listen+"/v1/health") {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("varve serve ended before it was ready: %v\n%s", err, log.String())
		case <-deadline:
			t.Fatal("varve serve was not ready after a minute")
		case <-time.After(20 * time.Millisecond):
		}
	}
	return printed.Bytes()
}

func healthy(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// freeAddress is a port that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// tail is the end of a log.
func tail(log []byte, n int) []byte {
	if len(log) <= n {
		return log
	}
	return log[len(log)-n:]
}
