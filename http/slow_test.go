package http

import (
	"bufio"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A body that does not arrive holds a connection only for a while, without a key
// for a shorter one; a connection whose bodies arrive may be used on and on.
func TestSlowBodies(t *testing.T) {
	const patience = 100 * time.Millisecond
	st := newStack(t, func(d *Deps) { d.Limits.BodyTime = patience })
	server := httptest.NewServer(st.Handler)
	defer server.Close()
	for _, c := range []struct {
		name, key, sent string
		length          int
		want            string
	}{
		{"no key", "", "", 100, "401"},
		{"no key, half a body", "", "{", 100, "401"},
		{"a key", st.Keys["admin"], `{"namespace_name"`, 100, "400"},
		{"a key and too much", st.Keys["admin"], "", 17 << 20, "413"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprintf(conn, "POST /v1/namespaces HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", c.key, c.length, c.sent)
			answer, err := io.ReadAll(conn) // to the end of the connection
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 "+c.want) {
				t.Errorf("answered %.60q, %v", answer, err)
			}
		})
	}
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	read := bufio.NewReader(conn)
	for i := range 2 {
		body := fmt.Sprintf(`{"namespace_name":"space%d"}`, i)
		fmt.Fprintf(conn, "POST /v1/namespaces HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", st.Keys["admin"], len(body), body)
		res, err := nethttp.ReadResponse(read, nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("request %d of a connection: %v, %v", i, res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		<-time.After(2 * patience)
	}
}
