package serve

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// directory is a data directory that this process alone uses.
type directory struct {
	path string
	lock *os.File
}

// LockedError says that another process has the directory.
type LockedError struct {
	Path    string
	Address string // where that process serves, "" where it does not say
}

// Error says what to do.
func (e *LockedError) Error() string {
	if e.Address != "" {
		return fmt.Sprintf("the directory %s is in use by the server at %s: stop it, or talk to it with --url %s", e.Path, e.Address, e.Address)
	}
	return fmt.Sprintf("the directory %s is in use by another varve: stop it first", e.Path)
}

// lock makes the directory where it is missing, and keeps other processes away
// until release. The lock ends with the process, however it ends.
func lock(path string) (*directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory %s cannot be written: %w", path, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		address, _ := os.ReadFile(f.Name())
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &LockedError{path, strings.TrimSpace(string(address))}
		}
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	d := &directory{path, f}
	return d, d.say("")
}

// say writes into the lock file where this process serves.
func (d *directory) say(address string) error {
	if err := d.lock.Truncate(0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	_, err := d.lock.WriteAt([]byte(address), 0)
	return err
}

func (d *directory) release() error { return d.lock.Close() }

func (d *directory) file(name string) string { return filepath.Join(d.path, name) }

// secret reads 32 random bytes from a file of mode 0600, and makes it where it
// is missing. Losing it makes every API key useless.
func (d *directory) secret(name string) ([]byte, error) {
	path := d.file(name)
	b, err := os.ReadFile(path)
	if err == nil {
		if len(b) != 32 {
			return nil, fmt.Errorf("%s holds %d bytes, not 32: restore it from a backup", path, len(b))
		}
		return b, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	b = make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("make secret: %w", err)
	}
	return b, writeDurably(path, b)
}

// writeDurably writes a file under another name, syncs it, and renames it.
func writeDurably(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}
