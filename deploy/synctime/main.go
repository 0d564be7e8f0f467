// Command synctime prints how long the disk takes to make one page durable:
// without it, numbers of durable appends say nothing.
package main

import (
	"fmt"
	"os"
	"slices"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "synctime:", err)
		os.Exit(1)
	}
}

func run() error {
	f, err := os.CreateTemp("", "synctime")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, 4096)
	var took []time.Duration
	for i := range 300 {
		began := time.Now()
		if _, err := f.WriteAt(page, int64(i)*4096); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	fmt.Printf("a page written and synced: median %s, p99 %s\n", took[len(took)/2], took[len(took)*99/100])
	return nil
}
