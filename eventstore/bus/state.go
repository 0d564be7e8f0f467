package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"varve/eventstore/follow"
)

// State keeps the place of a relay in each shard. Where several processes run
// relays, all must see the same.
type State interface {
	// Load gives what the last Save of the shard kept; zero where there was none.
	Load(ctx context.Context, shard int) (follow.State, error)
	// Save is durable when it returns. follow.ErrMoved says that the checkpoint
	// was not from, and that nothing was changed.
	Save(ctx context.Context, shard int, from follow.Checkpoint, s follow.State) error
}

// Directory is a State in one file a shard, for a relay that runs in one
// process. It is safe for concurrent use.
type Directory struct {
	path string
	mu   sync.Mutex
}

var _ State = (*Directory)(nil)

// OpenDirectory makes the folder where it does not exist.
func OpenDirectory(path string) (*Directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the relay's folder: %w", err)
	}
	return &Directory{path: path}, nil
}

func (d *Directory) file(shard int) string {
	return filepath.Join(d.path, fmt.Sprintf("shard-%d.json", shard))
}

// Load reads the shard's file; a file that cannot be read is an error, never a
// beginning from zero.
func (d *Directory) Load(_ context.Context, shard int) (follow.State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.load(shard)
}

func (d *Directory) load(shard int) (follow.State, error) {
	var s follow.State
	text, err := os.ReadFile(d.file(shard))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return follow.State{}, fmt.Errorf("read the relay's place %s: %w (deleting the file makes it publish everything again)", d.file(shard), err)
	}
	return s, nil
}

// Save writes a new file, syncs it and puts it in place of the old one.
func (d *Directory) Save(_ context.Context, shard int, from follow.Checkpoint, s follow.State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, err := d.load(shard)
	if err != nil {
		return err
	}
	if now.Checkpoint != from {
		return follow.ErrMoved
	}
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the relay's place: %w", err)
	}
	if err := replace(d.file(shard), append(text, '\n')); err != nil {
		return fmt.Errorf("write the relay's place: %w", err)
	}
	return nil
}

func replace(name string, content []byte) error {
	temporary := name + ".new"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary, name)
	}
	if err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
