package state

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"varve/eventstore/follow"
)

// Directory is the state of an installation that runs as one process: a file per
// secret, a file per consumer and shard; leases and work are in memory.
type Directory struct {
	follow.Process
	path string
	mu   sync.Mutex // files
	work work
}

var _ Store = (*Directory)(nil)

// OpenDirectory uses a directory that exists, and that no other process uses.
func OpenDirectory(path string) *Directory { return &Directory{path: path} }

// Places are files that are named by the shard's number, and found again by listing.
const placePrefix, placeSuffix = "shard-", ".json"

func (d *Directory) place(consumer string, shard int) string {
	return filepath.Join(d.path, consumer, placePrefix+strconv.Itoa(shard)+placeSuffix)
}

// Load reads a place. A file that cannot be read is an error, never a beginning
// from zero.
func (d *Directory) Load(_ context.Context, consumer string, shard int) (follow.State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.load(consumer, shard)
}

func (d *Directory) load(consumer string, shard int) (s follow.State, err error) {
	name := d.place(consumer, shard)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return follow.State{}, fmt.Errorf("read the place of %s in %s: %w (deleting the file makes it begin anew)", consumer, name, err)
	}
	return s, nil
}

// Save replaces a place's file.
func (d *Directory) Save(_ context.Context, consumer string, shard int, from follow.Checkpoint, s follow.State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, err := d.load(consumer, shard)
	if err != nil {
		return err
	}
	if now.Checkpoint != from {
		return follow.ErrMoved
	}
	return d.write(consumer, shard, s)
}

func (d *Directory) write(consumer string, shard int, s follow.State) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the place of %s: %w", consumer, err)
	}
	if err := os.MkdirAll(filepath.Join(d.path, consumer), 0o700); err != nil {
		return fmt.Errorf("make the folder of %s: %w", consumer, err)
	}
	if err := replace(d.place(consumer, shard), append(text, '\n')); err != nil {
		return fmt.Errorf("keep the place of %s: %w", consumer, err)
	}
	return nil
}

const secretSize = 32 // bytes

func (d *Directory) secret(name string) string { return filepath.Join(d.path, name) }

// Secret reads a file of mode 0600, and makes it where it is missing.
func (d *Directory) Secret(_ context.Context, name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, err := os.ReadFile(d.secret(name))
	if err == nil && len(b) != secretSize {
		return nil, fmt.Errorf("%s holds %d bytes, not %d: restore it from a backup", d.secret(name), len(b), secretSize)
	}
	if err == nil {
		return b, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	b = make([]byte, secretSize)
	rand.Read(b)
	if err := replace(d.secret(name), b); err != nil {
		return nil, fmt.Errorf("keep secret %s: %w", name, err)
	}
	return b, nil
}

// Take gives out work inside this process.
func (d *Directory) Take(_ context.Context, work string, items []string, most int) (taken, left []string, err error) {
	taken, left = d.work.take(work, items, most)
	return taken, left, nil
}

// Finish says that items are done.
func (d *Directory) Finish(_ context.Context, work string, items ...string) error {
	d.work.finish(work, items)
	return nil
}

// GiveBack says that items are free.
func (d *Directory) GiveBack(_ context.Context, work string, items ...string) error {
	d.work.giveBack(work, items)
	return nil
}

// Forget drops some work.
func (d *Directory) Forget(_ context.Context, work string) error {
	d.work.forget(work)
	return nil
}

// Export reads the places, and the secrets of SecretNames.
func (d *Directory) Export(context.Context) (Moved, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := Moved{Secrets: map[string][]byte{}, Places: map[string]map[int]follow.State{}}
	for _, name := range SecretNames {
		b, err := os.ReadFile(d.secret(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Moved{}, fmt.Errorf("read secret: %w", err)
		}
		m.Secrets[name] = b
	}
	files, err := filepath.Glob(filepath.Join(d.path, "*", placePrefix+"*"+placeSuffix))
	if err != nil {
		return Moved{}, err
	}
	for _, file := range files {
		consumer := filepath.Base(filepath.Dir(file))
		shard, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), placePrefix), placeSuffix))
		if err != nil {
			continue
		}
		s, err := d.load(consumer, shard)
		if err != nil {
			return Moved{}, err
		}
		if m.Places[consumer] == nil {
			m.Places[consumer] = map[int]follow.State{}
		}
		m.Places[consumer][shard] = s
	}
	return m, nil
}

// Import writes places and secrets.
func (d *Directory) Import(_ context.Context, m Moved) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, b := range m.Secrets {
		if err := replace(d.secret(name), b); err != nil {
			return fmt.Errorf("keep secret %s: %w", name, err)
		}
	}
	for consumer, shards := range m.Places {
		for shard, s := range shards {
			if err := d.write(consumer, shard, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close has nothing to let go of.
func (d *Directory) Close() error { return nil }

// replace writes a file under another name, syncs it, and puts it in place of the old one.
func replace(name string, content []byte) error {
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
