package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// directory keeps blobs as files. Go CDK's fileblob does not sync, so this is our own:
// a temporary file is written and synced, renamed to its name, and the directories that
// changed are synced, the deepest first.
type directory struct {
	root string
	hook func(string) error
	made sync.Map // directories that exist and whose entry in their parent is synced
}

// temporary is the directory of unfinished files; no scope is called so.
const temporary = ".tmp"

func openDirectory(root string, hook func(string) error) (*directory, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if hook == nil {
		hook = func(string) error { return nil }
	}
	if err := os.MkdirAll(filepath.Join(root, temporary), 0o700); err != nil {
		return nil, err
	}
	d := &directory{root: root, hook: hook}
	for _, dir := range []string{root, filepath.Dir(root)} {
		if err := syncDirectory(dir); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// step runs one step between its hooks.
func (d *directory) step(name string, do func() error) error {
	if err := d.hook("before " + name); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return d.hook("after " + name)
}

func (d *directory) put(_ context.Context, r io.Reader, name func([]byte) string, finish func(func() error) error) (sum []byte, size int64, err error) {
	var f *os.File
	renamed := false
	defer func() {
		if f == nil {
			return
		}
		f.Close()
		if !renamed {
			os.Remove(f.Name())
		}
	}()
	if err := d.step("create", func() (err error) {
		f, err = os.CreateTemp(filepath.Join(d.root, temporary), "put-*")
		return err
	}); err != nil {
		return nil, 0, err
	}
	h := sha256.New()
	if err := d.step("write", func() (err error) {
		size, err = io.Copy(io.MultiWriter(f, h), r)
		return err
	}); err != nil {
		return nil, 0, err
	}
	if err := d.step("sync file", f.Sync); err != nil {
		return nil, 0, err
	}
	if err := f.Close(); err != nil {
		return nil, 0, err
	}
	sum = h.Sum(nil)
	file := filepath.Join(d.root, filepath.FromSlash(name(sum)))
	return sum, size, finish(func() error {
		// A blob that is there already is replaced: then it is as young as this call and
		// certainly whole, and whether an earlier call synced the directory need not be known.
		if err := d.ensure(filepath.Dir(file)); err != nil {
			return err
		}
		if err := d.step("rename", func() error {
			err := os.Rename(f.Name(), file)
			renamed = err == nil
			return err
		}); err != nil {
			return err
		}
		return d.step("sync directory", func() error { return syncDirectory(filepath.Dir(file)) })
	})
}

// ensure makes a directory below root and syncs the entries of what it made.
func (d *directory) ensure(dir string) error {
	if _, ok := d.made.Load(dir); ok || dir == d.root {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := d.ensure(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := d.step("sync parent", func() error { return syncDirectory(parent) }); err != nil {
		return err
	}
	d.made.Store(dir, true)
	return nil
}

func syncDirectory(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (d *directory) open(_ context.Context, name string) (io.ReadCloser, error) {
	f, err := os.Open(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d *directory) path(name string) string { return filepath.Join(d.root, filepath.FromSlash(name)) }

func (d *directory) stat(_ context.Context, name string) (entry, error) {
	info, err := os.Stat(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return entry{}, ErrNotFound
	}
	if err != nil {
		return entry{}, err
	}
	return entry{name, info.Size(), info.ModTime()}, nil
}

func (d *directory) remove(_ context.Context, name string) error {
	err := d.step("remove", func() error { return os.Remove(d.path(name)) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.step("sync directory", func() error { return syncDirectory(filepath.Dir(d.path(name))) })
}

func (d *directory) list(ctx context.Context, each func(entry) error) error {
	return filepath.WalkDir(d.root, func(file string, e fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if e.IsDir() {
			if e.Name() == temporary {
				return fs.SkipDir
			}
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(d.root, file)
		if err != nil {
			return err
		}
		return each(entry{path.Clean(filepath.ToSlash(name)), info.Size(), info.ModTime()})
	})
}

// leftovers removes temporary files of calls that a crash ended.
func (d *directory) leftovers(_ context.Context, before time.Time) (int, error) {
	dir := filepath.Join(d.root, temporary)
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, f := range files {
		info, err := f.Info()
		if err != nil || !info.ModTime().Before(before) || !strings.HasPrefix(f.Name(), "put-") {
			continue
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (d *directory) close() error { return nil }
