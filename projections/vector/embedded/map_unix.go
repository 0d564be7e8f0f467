//go:build unix

package embedded

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps a file into memory, to be read only. unmap ends it.
func mapFile(path string) (data []byte, unmap func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.Size() == 0 {
		return nil, func() {}, nil
	}
	data, err = unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, wrap("map "+path, err)
	}
	return data, func() { _ = unix.Munmap(data) }, nil
}

// forget lets the kernel take the pages of a mapping out of the process. They are
// read again, from the page cache or the disk, when they are needed.
func forget(data []byte) {
	if len(data) > 0 {
		_ = unix.Madvise(data, unix.MADV_DONTNEED)
	}
}
