package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"varve/eventstore"
)

// linearIn is one client's operation on a stream: an append or a read.
type linearIn struct {
	stream string
	id     string // 5 characters; "" reads
	any    bool
	expect int
}

// linearOut is its answer.
type linearOut struct {
	conflict bool
	actual   int
	state    string // what a read saw: ids one after another
}

var linearModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, op := range history {
			s := op.Input.(linearIn).stream
			by[s] = append(by[s], op)
		}
		var out [][]porcupine.Operation
		for _, ops := range by {
			out = append(out, ops)
		}
		return out
	},
	Init: func() interface{} { return "" },
	Step: func(state, input, output interface{}) (bool, interface{}) {
		s, in, out := state.(string), input.(linearIn), output.(linearOut)
		version := len(s) / 5
		switch {
		case in.id == "":
			return out.state == s, s
		case out.conflict:
			return !in.any && version != in.expect && version == out.actual, s
		default:
			return in.any || version == in.expect, s + in.id
		}
	},
	DescribeOperation: func(input, output interface{}) string { return fmt.Sprintf("%+v → %+v", input, output) },
}

// linearizable: what eight clients saw can be put into one order. At least 20 %
// of the appends are conflicts, and of at least 5 % the client does not learn
// the outcome.
func linearizable(t *testing.T, open Opener, f Features) {
	const clients = 8
	each := 90
	if f.Light {
		each = 40
	}
	s := open(t, eventstore.Options{Grace: -1})
	defer s.Close()
	stores := []eventstore.Owner{s}
	if f.Second != nil {
		b := f.Second(t, s, eventstore.Options{Grace: -1})
		defer b.Close()
		stores = append(stores, b)
	}
	var mu sync.Mutex
	var history []porcupine.Operation
	var unknown []porcupine.Operation
	appends, conflicts := 0, 0
	start := time.Now()
	read := func(stream string) (string, error) {
		var b strings.Builder
		for r, err := range s.ReadStream(context.Background(), "l", stream, 0) {
			if err != nil {
				return "", err
			}
			b.WriteString(string(r.Data[1:6]))
		}
		return b.String(), nil
	}
	var wg sync.WaitGroup
	for k := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(uint64(k), 4))
			known := map[string]int{}
			for i := range each {
				in := linearIn{stream: fmt.Sprint("s", rnd.IntN(4))}
				if rnd.IntN(10) < 3 {
					call := time.Since(start).Nanoseconds()
					state, err := read(in.stream)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					history = append(history, porcupine.Operation{ClientId: k, Input: in, Call: call, Output: linearOut{state: state}, Return: time.Since(start).Nanoseconds()})
					mu.Unlock()
					known[in.stream] = len(state) / 5
					continue
				}
				in.id = fmt.Sprintf("%c%04d", 'a'+k, i)
				in.any, in.expect = rnd.IntN(8) == 0, known[in.stream]
				expect := exactly(uint64(in.expect))
				if in.any {
					expect = any()
				}
				c, cancel := context.WithCancel(context.Background())
				if rnd.IntN(6) == 0 {
					spin := rnd.IntN(300)
					go func() {
						for range spin {
							yield()
						}
						cancel()
					}()
				}
				call := time.Since(start).Nanoseconds()
				a, err := stores[(k+i)%len(stores)].Append(c, eventstore.Append{Batches: []eventstore.Batch{one("l", in.stream, expect, eventstore.Event{
					Type: "a.b", Data: []byte(`"` + in.id + `"`)})}})
				ret := time.Since(start).Nanoseconds()
				cancel()
				op := porcupine.Operation{ClientId: k, Input: in, Call: call, Return: ret}
				var conflict *eventstore.ConflictError
				lost := rnd.IntN(5) == 0 // the answer does not reach the client
				mu.Lock()
				switch {
				case errors.Is(err, eventstore.ErrUnknownOutcome), err == nil && lost:
					appends++
					unknown = append(unknown, op)
				case errors.Is(err, context.Canceled): // then it was certainly not written
					unknown = append(unknown, porcupine.Operation{Input: in, Return: -1})
				case errors.As(err, &conflict):
					appends++
					conflicts++
					op.Output = linearOut{conflict: true, actual: int(conflict.Actual)}
					history = append(history, op)
					known[in.stream] = int(conflict.Actual)
				case err != nil:
					t.Error(err)
				default:
					appends++
					op.Output = linearOut{}
					history = append(history, op)
					known[in.stream] = int(a.Records[0].Version)
				}
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	// A last write behind everything that is under way, then the last reads.
	for _, st := range stores {
		put(t, st, one("end", "s", any(), event(1)))
	}
	end := time.Since(start).Nanoseconds()
	final := map[string]string{}
	for i := range 4 {
		stream := fmt.Sprint("s", i)
		state, err := read(stream)
		if err != nil {
			t.Fatal(err)
		}
		final[stream] = state
		history = append(history, porcupine.Operation{ClientId: clients, Input: linearIn{stream: stream}, Call: end + int64(2*i) + 1, Output: linearOut{state: state}, Return: end + int64(2*i) + 2})
	}
	lost := 0
	for _, op := range unknown {
		in := op.Input.(linearIn)
		there := strings.Contains(final[in.stream], in.id)
		if op.Return < 0 {
			if there {
				t.Fatalf("%+v answered that nothing was written, and is there", in)
			}
			continue
		}
		lost++
		if there { // it happened, at some time before the end
			op.Output, op.Return = linearOut{}, end
			history = append(history, op)
		}
	}
	if conflicts*5 < appends || lost*20 < appends {
		t.Errorf("the test is too tame: of %d appends %d conflicts, %d unknown", appends, conflicts, lost)
	}
	for i := range history { // clients overlap with their own lost operations
		history[i].ClientId = i
	}
	if res := porcupine.CheckOperationsTimeout(linearModel, history, 60*time.Second); res != porcupine.Ok {
		t.Fatalf("the history of %d operations is not linearizable: %s", len(history), res)
	}
	Whole(t, s)
}
