package state_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/eventstore/state"
	"varve/eventstore/state/statetest"
)

func TestDirectory(t *testing.T) {
	statetest.Run(t, false, func(t *testing.T) func() state.Store {
		path := t.TempDir()
		return func() state.Store { return state.OpenDirectory(path) }
	})
}

// What is damaged is said, and never taken for nothing.
func TestDirectoryRefusesDamage(t *testing.T) {
	path := t.TempDir()
	d := state.OpenDirectory(path)
	write := func(name, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(path, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("relay/shard-0.json", `{"Checkpoint":`)
	if _, err := d.Load(context.Background(), "relay", 0); err == nil || !strings.Contains(err.Error(), "shard-0.json") {
		t.Errorf("a cut file gave %v", err)
	}
	write("pepper", "short")
	if _, err := d.Secret(context.Background(), state.Pepper); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("a short secret gave %v", err)
	}
}
