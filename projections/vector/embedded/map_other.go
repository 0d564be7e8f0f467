//go:build !unix

package embedded

import (
	"os"
	"unsafe"
)

// mapFile reads the file, where files cannot be mapped.
func mapFile(path string) (data []byte, unmap func(), err error) {
	read, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	return aligned(read), func() {}, nil
}

// aligned copies bytes to an address that fits every number in them.
func aligned(b []byte) []byte {
	room := make([]byte, len(b)+sectionAlign)
	shift := (sectionAlign - int(uintptr(unsafe.Pointer(unsafe.SliceData(room)))%sectionAlign)) % sectionAlign
	copy(room[shift:], b)
	return room[shift : shift+len(b)]
}

func forget([]byte) {}
