package postgres

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"varve/eventstore"
	"varve/eventstore/storetest"
)

// benchChild is the variable that has the DSN in a process of BenchmarkProcesses.
const benchChild = "VARVE_BENCH_CHILD"

// appended is what such a process says in the end.
type appended struct {
	Events, Commits, Lost int
	Took                  []time.Duration
}

// appendingMain is called in TestMain: in a process of BenchmarkProcesses it
// appends from 16 writers when it is told to, and does not return.
func appendingMain() {
	dsn := os.Getenv(benchChild)
	if dsn == "" {
		return
	}
	if err := appending(dsn); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func appending(dsn string) error {
	var now, total appended
	s, err := Open(context.Background(), dsn, Options{Options: eventstore.Options{Observe: func(c eventstore.Committed) {
		now.Events, now.Commits, now.Lost = now.Events+c.Records, now.Commits+1, now.Lost+c.Races
	}}})
	if err != nil {
		return err
	}
	defer s.Close()
	words := bufio.NewScanner(os.Stdin)
	for n := 0; ; n++ {
		fmt.Println("ready")
		if !words.Scan() {
			break
		}
		seconds, err := strconv.ParseFloat(words.Text(), 64)
		if err != nil {
			return err
		}
		before := now
		lat, err := storetest.Drive([]eventstore.Owner{s}, fmt.Sprint(os.Getpid(), "_", n), 16, 1, time.Duration(seconds*float64(time.Second)))
		if err != nil {
			return err
		}
		total = appended{now.Events - before.Events, now.Commits - before.Commits, now.Lost - before.Lost, lat}
	}
	return json.NewEncoder(os.Stdout).Encode(total)
}

// child is a process that appends.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(b *testing.B, dsn string) *child {
	b.Helper()
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), benchChild+"="+dsn)
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	return c
}

func (c *child) ready(b *testing.B) {
	b.Helper()
	if line, err := c.out.ReadString('\n'); err != nil || line != "ready\n" {
		b.Fatal("a process that appends: ", line, err)
	}
}

// appendFrom appends from n processes at once.
func appendFrom(b *testing.B, dsn string, n int) []appended {
	b.Helper()
	all := make([]*child, n)
	for i := range all {
		all[i] = startChild(b, dsn)
	}
	for _, seconds := range []float64{0.3, storetest.Span().Seconds() * 2 / 3} { // warming up first
		for _, c := range all {
			c.ready(b)
		}
		for _, c := range all {
			if _, err := fmt.Fprintln(c.in, seconds); err != nil {
				b.Fatal(err)
			}
		}
	}
	said := make([]appended, n)
	for i, c := range all {
		c.ready(b)
		c.in.Close()
		if err := json.NewDecoder(c.out).Decode(&said[i]); err != nil {
			b.Fatal(err)
		}
		if err := c.cmd.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	return said
}

// BenchmarkProcesses appends to one shard from one, two and four processes with
// 16 writers each, in turns; ratio is what they reach together ÷ what one does.
func BenchmarkProcesses(b *testing.B) {
	const turns = 5
	dsn := benchDatabase(b)
	type measured struct {
		rates, shares []float64
		commits, lost int
		took          []time.Duration
	}
	at := map[int]*measured{1: {}, 2: {}, 4: {}}
	for range turns {
		for _, n := range []int{1, 2, 4} {
			m := at[n]
			said := appendFrom(b, dsn, n)
			events, least := 0, said[0].Events
			for _, s := range said {
				events, least = events+s.Events, min(least, s.Events)
				m.commits, m.lost, m.took = m.commits+s.Commits, m.lost+s.Lost, append(m.took, s.Took...)
			}
			m.rates = append(m.rates, float64(events)/(storetest.Span().Seconds()*2/3))
			m.shares = append(m.shares, 100*float64(least)/float64(events))
		}
	}
	for _, n := range []int{1, 2, 4} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			m := at[n]
			var ratios []float64
			for i, rate := range m.rates {
				ratios = append(ratios, rate/at[1].rates[i])
			}
			slices.Sort(m.rates)
			slices.Sort(m.shares)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(m.rates[turns/2], "events/s")
			storetest.ReportLatency(b, m.took)
			if n == 1 {
				return
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[turns/2], "ratio")
			b.ReportMetric(m.shares[turns/2], "least_%")
			b.ReportMetric(100*float64(m.lost)/float64(m.commits+m.lost), "lost_%")
			if n == 2 {
				b.ReportMetric(0.9, "ratio>=")
				b.ReportMetric(40, "least_%>=")
				b.ReportMetric(1, "lost_%<=")
			}
		})
	}
}
