package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// network is a proxy that behaves as badly as it is told to.
type network struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	delay time.Duration // at most, before what is read is passed on
	down  bool          // takes nobody
	open  map[net.Conn]bool
	cuts  int
}

func newNetwork(t *testing.T, to string) *network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{listener: l, to: to, open: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close(); n.cut(1) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go n.carry(c)
		}
	}()
	return n
}

func (n *network) carry(near net.Conn) {
	far, err := net.Dial("tcp", n.to)
	n.mu.Lock()
	refused := n.down || err != nil
	if !refused {
		n.open[near] = true
	}
	n.mu.Unlock()
	if refused {
		_ = near.Close()
		if err == nil {
			_ = far.Close()
		}
		return
	}
	var passing sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		passing.Go(func() {
			n.pass(way[0], way[1])
			_ = near.Close()
			_ = far.Close()
		})
	}
	passing.Wait()
	n.mu.Lock()
	delete(n.open, near)
	n.mu.Unlock()
}

func (n *network) pass(from io.Reader, to io.Writer) {
	buffer := make([]byte, 32<<10)
	for {
		read, err := from.Read(buffer)
		n.mu.Lock()
		delay := n.delay
		n.mu.Unlock()
		if delay > 0 {
			time.Sleep(rand.N(delay))
		}
		if _, writeErr := to.Write(buffer[:read]); err != nil || writeErr != nil {
			return
		}
	}
}

// cut ends connections, each with some probability.
func (n *network) cut(probability float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.open {
		if rand.Float64() < probability {
			_ = c.Close()
			n.cuts++
		}
	}
}

func (n *network) set(delay time.Duration, down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay, n.down = delay, down
}

// TestBadNetworkLosesNothing puts a network between two processes and PostgreSQL
// that delays, drops connections in the middle of whatever they carry, and is gone
// for two seconds, under eight clients: they are asked to try again, nothing that
// was acknowledged is lost, nothing happens twice, and all goes on by itself.
func TestBadNetworkLosesNothing(t *testing.T) {
	c := newCluster(t)
	u, err := url.Parse(c.dsn)
	if err != nil {
		t.Fatal(err)
	}
	n := newNetwork(t, u.Host)
	u.Host = n.listener.Addr().String()
	c.flags[1] = u.String()
	var processes []*child
	for range 2 {
		processes = append(processes, c.start("api,projector,relay,worker"))
	}
	any := attacker{url: processes[0].URL, key: c.key, patient: true}
	any.setUp(t)
	ctx, stop := context.WithCancel(t.Context())
	clients, i := crowd(), 0
	var writing sync.WaitGroup
	for _, work := range clients {
		a := attacker{url: processes[i%2].URL, key: c.key, ctx: ctx, patient: true}
		i++
		writing.Go(func() { work(a, 0) })
	}
	n.set(5*time.Millisecond, false)
	for range 15 {
		time.Sleep(100 * time.Millisecond)
		n.cut(0.05)
	}
	n.set(0, true)
	n.cut(1)
	time.Sleep(2 * time.Second)
	n.set(0, false)
	before, _ := acknowledged(clients)
	atWork(t, clients, before, 40)
	stop()
	writing.Wait()
	time.Sleep(500 * time.Millisecond) // what was given up may still be written
	var checked sync.WaitGroup
	for w := range clients {
		checked.Go(func() { w.check(t, any) })
	}
	checked.Wait()
	any.twice(t)
	shown := any.state(t)
	any.url = processes[1].URL
	if other := any.state(t); other != shown {
		t.Error("two processes answer differently")
	}
	if c.bus != "" {
		c.published()
	}
	c.chains()
	for _, p := range processes {
		p.stop(t)
	}
	requests, _ := acknowledged(clients)
	t.Logf("report: %d acknowledged requests; %d connections cut, two seconds without a server; none lost, none twice", requests, n.cuts)
}
