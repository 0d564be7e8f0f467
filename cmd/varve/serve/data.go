package serve

import (
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
