package embedded

import (
	"context"
	"testing"

	"varve/eventstore"
	"varve/projections/vector/vectortest"
)

// Erasing reaches what is held, what is in the folder, and what is being loaded.
func TestEraseOnDemand(t *testing.T) {
	f := churn(400)
	secret := writeSecret(f)
	f.Records = append(f.Records, churn(800).Records[len(f.Records):]...)
	blank := &history{}
	blank.add(f.Records...)
	blank.erase("log-a", secret.Position, 7)
	want := &vectortest.Feed{Records: blank.of["log-a"]}
	for _, state := range []string{"held", "away", "never asked for", "loading"} {
		t.Run(state, func(t *testing.T) {
			h, dir := &history{}, t.TempDir()
			h.add(f.Records...)
			x := openOnDemand(t, dir, h, Options{HeadRows: 64})
			begun, open := make(chan struct{}), make(chan struct{})
			done := make(chan struct{})
			switch state {
			case "held":
				see(t, x, "log-a", 500)
			case "away":
				see(t, x, "log-a", 500).Close()
				unloadAll(x)
			case "loading":
				h.gate = func(_ eventstore.LogID, position uint64) error {
					if position == 600 {
						close(begun)
						<-open
					}
					return nil
				}
				go func() {
					defer close(done)
					v, err := x.View(context.Background(), "log-a", 500)
					if err != nil {
						t.Error(err)
						return
					}
					v.Close()
				}()
				<-begun
				go close(open)
				defer func() { <-done }()
			}
			h.erase("log-a", secret.Position, 7)
			for range 2 {
				if err := x.Erase(context.Background(), "log-a", secret.Position, 7); err != nil {
					t.Fatal(err)
				}
			}
			for _, position := range []uint64{6, 7, 8, secret.Position, 700} {
				if got, want := answers(t, see(t, x, "log-a", position)), answers(t, see(t, filled(t, want), "log-a", position)); got != want {
					t.Fatalf("at %d:\n%s\nwant\n%s", position, got, want)
				}
			}
			if err := x.Flush(); err != nil {
				t.Fatal(err)
			}
			noSecret(t, dir)
		})
	}
}

func TestDropAndClearOnDemand(t *testing.T) {
	f, h, dir := churn(400), &history{}, t.TempDir()
	h.add(f.Records...)
	x := openOnDemand(t, dir, h, Options{HeadRows: 64})
	want := answers(t, see(t, x, "log-a", 400))
	for _, what := range []string{"drop", "clear", "drop away", "clear away"} {
		if what == "drop away" || what == "clear away" {
			for _, l := range x.all() {
				l.users.Store(0)
			}
			unloadAll(x)
		}
		err := x.Drop("log-a")
		if what == "clear" || what == "clear away" {
			err = x.Clear()
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := len(segmentFiles(t, dir)); n > 0 || len(x.Logs()) > 0 || x.headBytes.Load() != 0 {
			t.Errorf("%s leaves %d files, %v, %d bytes in heads", what, n, x.Logs(), x.headBytes.Load())
		}
		if got := answers(t, see(t, x, "log-a", 400)); got != want {
			t.Errorf("after %s:\n%s\nwant\n%s", what, got, want)
		}
	}
	if err := x.Drop("log-none"); err != nil {
		t.Error(err)
	}
}
