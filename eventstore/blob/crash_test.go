package blob

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPutKilled kills a process at every step of a put. (The kernel keeps what was
// written; what a power cut does rests on the order of syncs, which TestPutSyncsInOrder holds.)
func TestPutKilled(t *testing.T) {
	const rootVariable, pointVariable = "VARVE_BLOB_TEST_ROOT", "VARVE_BLOB_TEST_POINT"
	if root := os.Getenv(rootVariable); root != "" { // the process that is killed
		s := open(t, root, Options{Hook: func(point string) error {
			if point == os.Getenv(pointVariable) {
				return syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			return nil
		}})
		put(t, s, "org_a", "x")
		return
	}
	for _, point := range []string{"before create", "after create", "after write", "after sync file", "after sync parent", "before rename", "after rename", "after sync directory"} {
		t.Run(point, func(t *testing.T) {
			root := t.TempDir()
			child := exec.Command(os.Args[0], "-test.run=^TestPutKilled$")
			child.Env = append(os.Environ(), rootVariable+"="+root, pointVariable+"="+point)
			err := child.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the process was not killed: %v", err)
			}
			renamed := point == "after rename" || point == "after sync directory"
			s := open(t, root, Options{Now: func() time.Time { return time.Now().Add(2 * Grace) }})
			got, err := s.Read(ctx, "org_a", digestOf("x"))
			if renamed && (err != nil || string(got) != "x") || !renamed && !errors.Is(err, ErrNotFound) {
				t.Errorf("afterwards: %q, %v", got, err)
			}
			put(t, s, "org_a", "x")
			if _, err := s.Sweep(ctx, func(_ context.Context, _, _ string) (bool, error) { return true, nil }); err != nil {
				t.Fatal(err)
			}
			if names := files(t, root); len(names) != 1 || !strings.HasPrefix(names[0], "org_a/") {
				t.Errorf("after putting again and a sweep: %q", names)
			}
		})
	}
}
