//go:build !race

package sqlite_test

// raceOn: under the race detector SQLite's translated C is a hundred times slower;
// the memory engine carries the concurrency there.
const raceOn = false
