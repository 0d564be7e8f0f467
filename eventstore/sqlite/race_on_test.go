//go:build race

package sqlite_test

// raceOn: see contract_test.go.
const raceOn = true
