package storetest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"varve/eventstore"
	"varve/eventstore/failpoint"
)

// Environment of the child process of Crash.
const (
	crashChild = "VARVE_CRASH_CHILD" // what the child opens; set: this process is the child
	crashPoint = "VARVE_CRASH_POINT" // failpoint at which it kills itself
	crashHit   = "VARVE_CRASH_HIT"   // at which hit of it
	crashTag   = "VARVE_CRASH_TAG"   // of the events of this round
)

// crashClients append in the child at the same time.
const crashClients = 8

// CrashMain must be called first in TestMain of a package that uses Crash: in
// the child process it appends until it is killed, and does not return.
func CrashMain(open func(where string) (eventstore.Owner, error)) {
	where := os.Getenv(crashChild)
	if where == "" {
		return
	}
	point := os.Getenv(crashPoint)
	at, _ := strconv.Atoi(os.Getenv(crashHit))
	s, err := open(where)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	if point != "" {
		failpoint.Enable(func(name string, hit int) error {
			if name == point && hit == at {
				// An answer that is given too early has the time to get out.
				time.Sleep(20 * time.Millisecond)
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			return nil
		})
	}
	tag := os.Getenv(crashTag)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for k := range crashClients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ; i++ {
				a := crashAppend(tag, k, i)
				got, err := s.Append(context.Background(), a)
				if err != nil {
					mu.Lock()
					fmt.Println("error", err)
					os.Exit(1)
				}
				line := fmt.Sprintf("ack %d %d %d\n", k, i, got.Feed)
				mu.Lock()
				os.Stdout.WriteString(line) // one write: it is in the pipe when this returns
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	os.Exit(0)
}

// crashAppend is the i-th command of client k: 1 to 3 events in up to two logs,
// some under an idempotency key, some with attachments; now and then a fork.
func crashAppend(tag string, k, i int) eventstore.Append {
	data := func(part, of int) []byte {
		return fmt.Appendf(nil, `{"tag":%q,"k":%d,"i":%d,"part":%d,"of":%d}`, tag, k, i, part, of)
	}
	of := 1 + (i+k)%3
	var a eventstore.Append
	for part := range of {
		e := eventstore.Event{Type: "crash.tested", Data: data(part, of)}
		if i%5 == 0 {
			e.Attachments = []eventstore.Attachment{{Name: "v", Bytes: make([]byte, 1000)}}
		}
		if i%40 == 7 {
			e.Attachments = []eventstore.Attachment{{Name: "v", Bytes: make([]byte, 70_000)}}
		}
		log := eventstore.LogID(fmt.Sprint("log", (k+part)%3))
		stream := fmt.Sprint("s-", tag, "-", k, "-", part)
		if i%3 == 0 {
			stream = fmt.Sprint("shared", part)
		}
		a.Batches = append(a.Batches, eventstore.Batch{Log: log, Stream: stream, Events: []eventstore.Event{e}})
	}
	if i%2 == 1 {
		a.Idempotency = &eventstore.Idempotency{Scope: fmt.Sprint(tag, k, i), Digest: eventstore.Hash{1}}
	}
	if i%25 == 24 {
		a.Batches = append(a.Batches, eventstore.Batch{Log: eventstore.LogID(fmt.Sprint("branch-", tag, "-", k, "-", i)),
			Fork: &eventstore.Fork{From: "log0", UpTo: 0}})
	}
	return a
}

// Crash kills a child that appends under eight clients, at every failpoint before,
// between and after the steps of an append and at random moments, and looks after
// each death, in the same data again and again: every acknowledged command is
// there, every command is there whole or not at all and once, positions, versions
// and feed are dense, the chain is whole. VARVE_CRASH_ROUNDS sets how often (20).
func Crash(t *testing.T, where string, open func(where string) (eventstore.Owner, error), points []string) {
	rounds := 20
	if n, err := strconv.Atoi(os.Getenv("VARVE_CRASH_ROUNDS")); err == nil {
		rounds = n
	}
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	acked, kills := map[string]uint64{}, map[string]int{}
	for round := range rounds {
		tag := fmt.Sprint("r", round)
		point, hit := "", 0
		if round%5 < 4 {
			point, hit = points[(round-round/5)%len(points)], 1+rnd.IntN(40)
		}
		killed := crashRound(t, where, tag, point, hit, time.Duration(20+rnd.IntN(150))*time.Millisecond, acked)
		if !killed {
			t.Fatalf("round %d: the child was not killed", round)
		}
		kills[point]++
		s, err := open(where)
		if err != nil {
			t.Fatalf("round %d (killed at %s %d): open: %v", round, point, hit, err)
		}
		crashCheck(t, s, fmt.Sprintf("round %d (killed at %q, hit %d)", round, point, hit), acked)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acked) < 20*rounds {
		t.Errorf("only %d commands were acknowledged in %d rounds: the test is too tame", len(acked), rounds)
	}
	report := ""
	for _, point := range append(slices.Clone(points), "") {
		name := point
		if name == "" {
			name = "a random moment"
		}
		report += fmt.Sprintf(", %s %d", name, kills[point])
	}
	t.Logf("report: %d rounds, %d commands acknowledged, none lost, none twice; killed at%s", rounds, len(acked), report[1:])
}

func crashRound(t *testing.T, where, tag, point string, hit int, after time.Duration, acked map[string]uint64) (killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=NONE")
	cmd.Env = append(os.Environ(), crashChild+"="+where, crashPoint+"="+point, crashHit+"="+strconv.Itoa(hit), crashTag+"="+tag)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1024)
	go func() {
		defer close(lines)
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadString('\n')
			if err == io.EOF || err != nil {
				return // a line cut short by the kill was not acknowledged to anyone
			}
			lines <- line
		}
	}()
	var timer <-chan time.Time
	giveUp := time.After(30 * time.Second)
	for open := true; open; {
		select {
		case line, ok := <-lines:
			if !ok {
				open = false
				break
			}
			if timer == nil && point == "" {
				timer = time.After(after)
			}
			var k, i int
			var feed uint64
			if n, _ := fmt.Sscanf(line, "ack %d %d %d", &k, &i, &feed); n != 3 {
				t.Fatalf("the child says: %s", strings.TrimSpace(line))
			}
			acked[fmt.Sprint(tag, " ", k, " ", i)] = feed
		case <-timer:
			_ = cmd.Process.Kill()
		case <-giveUp:
			_ = cmd.Process.Kill()
			t.Fatalf("the child was not killed at %s, hit %d", point, hit)
		}
	}
	err = cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return err != nil && ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

func crashCheck(t *testing.T, s eventstore.Owner, when string, acked map[string]uint64) {
	t.Helper()
	type command struct {
		parts, of int
		last      uint64
	}
	commands := map[string]*command{}
	for r, err := range s.Feed(context.Background(), 0, 0, 0) {
		if err != nil {
			t.Fatalf("%s: feed: %v", when, err)
		}
		var d struct {
			Tag            string
			K, I, Part, Of int
		}
		if err := json.Unmarshal(r.Data, &d); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		key := fmt.Sprint(d.Tag, " ", d.K, " ", d.I)
		c := commands[key]
		if c == nil {
			c = &command{of: d.Of}
			commands[key] = c
		}
		if d.Part != c.parts || d.Part > 0 && r.Feed != c.last+1 {
			t.Fatalf("%s: part %d of command %s at feed position %d, after part %d at %d", when, d.Part, key, r.Feed, c.parts-1, c.last)
		}
		c.parts++
		c.last = r.Feed
		if a := crashAppend(d.Tag, d.K, d.I); a.Idempotency != nil && d.Part == 0 {
			if got, ok, err := s.Replay(context.Background(), 0, *a.Idempotency); err != nil || !ok || len(got.Records) != d.Of || got.Records[0].ID != r.ID {
				t.Fatalf("%s: the idempotency key of command %s: %v %v", when, key, ok, err)
			}
		}
	}
	for key, c := range commands {
		if c.parts != c.of {
			t.Fatalf("%s: command %s has %d of its %d events", when, key, c.parts, c.of)
		}
	}
	for key, feed := range acked {
		c := commands[key]
		if c == nil {
			t.Fatalf("%s: command %s was acknowledged and is not there", when, key)
		}
		if c.last != feed {
			t.Fatalf("%s: command %s was acknowledged at feed position %d and is at %d", when, key, feed, c.last)
		}
	}
	Whole(t, s)
}
