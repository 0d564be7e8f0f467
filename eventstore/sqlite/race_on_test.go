//go:build race

package sqlite_test

// raceOn: see race_off_test.go.
const raceOn = true
