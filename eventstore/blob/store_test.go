package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

func open(t testing.TB, location string, o Options) *Store {
	t.Helper()
	s, err := Open(ctx, location, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func put(t testing.TB, s *Store, scope, text string) Ref {
	t.Helper()
	ref, err := s.Put(ctx, scope, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func digestOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// every runs a test on each driver.
func every(t *testing.T, test func(t *testing.T, s *Store, later func(time.Duration))) {
	locations := []string{"directory", "file", "mem://"}
	if os.Getenv(s3Variable) != "" { // deploy/suites.txt demands it of make test
		locations = append(locations, "s3")
	}
	for _, location := range locations {
		t.Run(location, func(t *testing.T) {
			var mu sync.Mutex
			ahead := time.Duration(0)
			now := func() time.Time {
				mu.Lock()
				defer mu.Unlock()
				return time.Now().Add(ahead)
			}
			switch location {
			case "directory":
				location = filepath.Join(t.TempDir(), "new", "blobs")
			case "file":
				location = "file://" + t.TempDir()
			case "s3":
				location = newBucket(t)
			}
			test(t, open(t, location, Options{Now: now}), func(d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				ahead += d
			})
		})
	}
}

func TestPutAndGet(t *testing.T) {
	every(t, func(t *testing.T, s *Store, _ func(time.Duration)) {
		for _, text := range []string{"", "hello", strings.Repeat("0123456789", 300_000)} {
			ref := put(t, s, "org_a", text)
			if ref != (Ref{digestOf(text), int64(len(text))}) {
				t.Errorf("%v", ref)
			}
			if again := put(t, s, "org_a", text); again != ref {
				t.Errorf("put again: %v", again)
			}
			got, err := s.Read(ctx, "org_a", ref.Digest)
			if err != nil || string(got) != text {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if ok, err := s.Exists(ctx, "org_a", ref.Digest); !ok || err != nil {
				t.Errorf("does not exist: %v", err)
			}
			// Another organization sees nothing of it.
			if ok, err := s.Exists(ctx, "org_b", ref.Digest); ok || err != nil {
				t.Errorf("exists for another organization: %v", err)
			}
			if _, err := s.Get(ctx, "org_b", ref.Digest); !errors.Is(err, ErrNotFound) {
				t.Errorf("another organization gets it: %v", err)
			}
			for range 2 {
				if err := s.Delete(ctx, "org_a", ref.Digest); err != nil {
					t.Error(err)
				}
			}
			if _, err := s.Read(ctx, "org_a", ref.Digest); !errors.Is(err, ErrNotFound) {
				t.Errorf("after it was deleted: %v", err)
			}
		}
	})
}

func TestNamesThatLeadElsewhereAreRefused(t *testing.T) {
	every(t, func(t *testing.T, s *Store, _ func(time.Duration)) {
		good := put(t, s, "org_a", "x").Digest
		for _, c := range [][2]string{
			{"", good}, {"..", good}, {"a/b", good}, {".tmp", good}, {"a b", good}, {strings.Repeat("a", 101), good},
			{"org_a", ""}, {"org_a", good[7:]}, {"org_a", "md5:" + good[7:]}, {"org_a", good + "0"}, {"org_a", "sha256:" + strings.Repeat("..", 32)},
			{"org_a", strings.ToUpper(good)},
		} {
			if _, err := s.Get(ctx, c[0], c[1]); err == nil || errors.Is(err, ErrNotFound) {
				t.Errorf("Get(%q, %q): %v", c[0], c[1], err)
			}
			if _, err := s.Exists(ctx, c[0], c[1]); err == nil {
				t.Errorf("Exists(%q, %q) is answered", c[0], c[1])
			}
			if err := s.Delete(ctx, c[0], c[1]); err == nil {
				t.Errorf("Delete(%q, %q) is done", c[0], c[1])
			}
		}
		if _, err := s.Put(ctx, "../x", strings.NewReader("x")); err == nil {
			t.Error("put outside")
		}
	})
}

func TestASourceThatBreaksLeavesNothing(t *testing.T) {
	every(t, func(t *testing.T, s *Store, _ func(time.Duration)) {
		broken := errors.New("broken")
		if _, err := s.Put(ctx, "org_a", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := s.Put(cancelled, "org_a", strings.NewReader("half")); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if ok, _ := s.Exists(ctx, "org_a", digestOf("half")); ok {
			t.Error("half a blob is there")
		}
		if d, ok := s.driver.(*directory); ok {
			if names := files(t, d.root); len(names) != 0 {
				t.Errorf("left over: %q", names)
			}
		}
	})
}

func files(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, strings.TrimPrefix(p, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// recorder is a hook that keeps the points and fails at one of them.
type recorder struct {
	points []string
	failAt string
}

var errStop = errors.New("stopped by the test")

func (r *recorder) hook(point string) error {
	r.points = append(r.points, point)
	if point == r.failAt {
		return errStop
	}
	return nil
}

// The file is synced before it gets its name, and every directory that changed before Put returns.
func TestPutSyncsInOrder(t *testing.T) {
	r := &recorder{}
	s := open(t, t.TempDir(), Options{Hook: r.hook})
	steps := func(names ...string) []string {
		var all []string
		for _, n := range names {
			all = append(all, "before "+n, "after "+n)
		}
		return all
	}
	put(t, s, "org_a", "x")
	want := steps("create", "write", "sync file", "sync parent", "sync parent", "rename", "sync directory")
	if !slices.Equal(r.points, want) {
		t.Errorf("first put: %q, want %q", r.points, want)
	}
	r.points = nil
	put(t, s, "org_a", "x")
	if want = steps("create", "write", "sync file", "rename", "sync directory"); !slices.Equal(r.points, want) {
		t.Errorf("second put: %q, want %q", r.points, want)
	}
	r.points = nil
	if err := s.Delete(ctx, "org_a", digestOf("x")); err != nil {
		t.Fatal(err)
	}
	if want = steps("remove", "sync directory"); !slices.Equal(r.points, want) {
		t.Errorf("delete: %q, want %q", r.points, want)
	}
}

// Wherever a put is stopped, the blob is whole or not there, and putting it again mends it.
func TestPutStoppedAnywhere(t *testing.T) {
	all := &recorder{}
	put(t, open(t, t.TempDir(), Options{Hook: all.hook}), "org_a", "x")
	for _, point := range all.points {
		r := &recorder{failAt: point}
		root := t.TempDir()
		s := open(t, root, Options{Hook: r.hook})
		if _, err := s.Put(ctx, "org_a", strings.NewReader("x")); !errors.Is(err, errStop) {
			t.Errorf("%s: %v", point, err)
		}
		if got, err := s.Read(ctx, "org_a", digestOf("x")); !errors.Is(err, ErrNotFound) && (err != nil || string(got) != "x") {
			t.Errorf("%s: %q, %v", point, got, err)
		}
		for _, name := range files(t, root) {
			if strings.HasPrefix(name, temporary) {
				t.Errorf("%s: %s is left", point, name)
			}
		}
		r.failAt, r.points = "", nil
		put(t, s, "org_a", "x")
		if !slices.Contains(r.points, "after sync directory") {
			t.Errorf("%s: putting again syncs nothing", point)
		}
		if got, err := s.Read(ctx, "org_a", digestOf("x")); err != nil || string(got) != "x" {
			t.Errorf("%s, then again: %q, %v", point, got, err)
		}
	}
}

func TestDamageIsFoundAndMended(t *testing.T) {
	root := t.TempDir()
	s := open(t, root, Options{})
	ref := put(t, s, "org_a", "hello")
	name, _ := locate("org_a", ref.Digest)
	if err := os.WriteFile(filepath.Join(root, name), []byte("hellx"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(ctx, "org_a", ref.Digest); !errors.Is(err, ErrDamaged) {
		t.Errorf("damage is read: %v", err)
	}
	put(t, s, "org_a", "hello")
	if got, err := s.Read(ctx, "org_a", ref.Digest); err != nil || string(got) != "hello" {
		t.Errorf("put again: %q, %v", got, err)
	}
}

func TestSweepTakesOnlyWhatIsOldAndUnreferenced(t *testing.T) {
	every(t, func(t *testing.T, s *Store, later func(time.Duration)) {
		used, unused, packed := put(t, s, "org_a", "used"), put(t, s, "org_a", "unused"), put(t, s, "log", "packed")
		if d, ok := s.driver.(*directory); ok { // what a crash leaves
			if err := os.WriteFile(filepath.Join(d.root, temporary, "put-1"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(d.root, "README"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		referenced := func(_ context.Context, scope, digest string) (bool, error) {
			return scope == "log" || digest == used.Digest, nil
		}
		later(23 * time.Hour)
		if swept, err := s.Sweep(ctx, referenced); err != nil || swept != (Swept{}) {
			t.Fatalf("too early: %+v, %v", swept, err)
		}
		later(2 * time.Hour)
		old := 0
		if err := s.Old(ctx, func(string, Ref) error { old++; return nil }); err != nil || old != 3 {
			t.Errorf("%d blobs are old, %v", old, err)
		}
		doubt := errors.New("store is away")
		if swept, err := s.Sweep(ctx, func(context.Context, string, string) (bool, error) { return false, doubt }); !errors.Is(err, doubt) || swept.Blobs != 0 {
			t.Fatalf("in doubt: %+v, %v", swept, err)
		}
		swept, err := s.Sweep(ctx, referenced)
		want := Swept{Blobs: 1, Bytes: 6}
		if _, ok := s.driver.(*directory); ok {
			want.Leftovers = 1
		}
		if err != nil || swept != want {
			t.Fatalf("%+v, %v", swept, err)
		}
		for scope, ref := range map[string]Ref{"org_a": used, "log": packed} {
			if ok, err := s.Exists(ctx, scope, ref.Digest); !ok || err != nil {
				t.Errorf("%s is gone (%v)", scope, err)
			}
		}
		if ok, _ := s.Exists(ctx, "org_a", unused.Digest); ok {
			t.Error("the unreferenced blob is still there")
		}
	})
}

// A blob that is put again while the sweeper looks at it stays.
func TestSweepSparesWhatIsPutAgain(t *testing.T) {
	root := t.TempDir()
	s := open(t, root, Options{})
	ref := put(t, s, "org_a", "x")
	name, _ := locate("org_a", ref.Digest)
	old := time.Now().Add(-2 * Grace)
	if err := os.Chtimes(filepath.Join(root, name), old, old); err != nil {
		t.Fatal(err)
	}
	swept, err := s.Sweep(ctx, func(context.Context, string, string) (bool, error) {
		put(t, s, "org_a", "x") // between the question and the removal
		return false, nil
	})
	if err != nil || swept.Blobs != 0 {
		t.Errorf("%+v, %v", swept, err)
	}
	if ok, _ := s.Exists(ctx, "org_a", ref.Digest); !ok {
		t.Error("the blob is gone")
	}
}

func TestConcurrentPuts(t *testing.T) {
	every(t, func(t *testing.T, s *Store, _ func(time.Duration)) {
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				text := strings.Repeat(string(rune('a'+i%5)), 1000)
				ref, err := s.Put(ctx, "org_a", strings.NewReader(text))
				if err != nil || ref.Digest != digestOf(text) {
					t.Errorf("%v, %v", ref, err)
					return
				}
				if got, err := s.Read(ctx, "org_a", ref.Digest); err != nil || string(got) != text {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
		wg.Wait()
	})
}

func TestPacked(t *testing.T) {
	s := open(t, "mem://", Options{})
	p := s.Packed("log")
	ref, err := p.Put(ctx, []byte("attachments"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Get(ctx, ref); err != nil || string(got) != "attachments" {
		t.Errorf("%q, %v", got, err)
	}
	if err := p.Delete(ctx, ref); err != nil {
		t.Error(err)
	}
	if _, err := p.Get(ctx, ref); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, location := range []string{"gopher://x", file, "s3://", "s3://\x00"} {
		if s, err := Open(ctx, location, Options{}); err == nil {
			s.Close()
			t.Errorf("%q is opened", location)
		}
	}
}

// The store against a map.
func TestStoreIsAMap(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		model := map[[2]string][]byte{}
		scope := rapid.SampledFrom([]string{"a", "b"})
		data := rapid.SliceOfN(rapid.SampledFrom([]byte("xy")), 0, 3)
		prefix := []byte{byte(round), byte(round >> 8)} // rounds share the directory
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			in, b := scope.Draw(t, "scope"), append(bytes.Clone(prefix), data.Draw(t, "data")...)
			digest := digestOf(string(b))
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				if ref, err := s.Put(ctx, in, bytes.NewReader(b)); err != nil || ref.Digest != digest {
					t.Fatal(ref, err)
				}
				model[[2]string{in, digest}] = b
			case 1:
				if err := s.Delete(ctx, in, digest); err != nil {
					t.Fatal(err)
				}
				delete(model, [2]string{in, digest})
			default:
				want, there := model[[2]string{in, digest}]
				got, err := s.Read(ctx, in, digest)
				if there != (err == nil) || there && !bytes.Equal(got, want) || !there && !errors.Is(err, ErrNotFound) {
					t.Fatalf("%q, %v, want %q, %v", got, err, want, there)
				}
			}
		}
	})
}
