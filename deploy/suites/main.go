// Command suites runs `go test -json …`, prints what `go test` would have
// printed, and says which tests were skipped and why. With -list it fails when
// a suite of the list did not run and pass; with VARVE_REQUIRE_SUITES=1 any
// skipped test fails the run, so that a missing server or tool cannot pass for
// success.
//
//	suites [-list FILE] -- go test -json ./...
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

func main() {
	list := flag.String("list", "", "file that names the suites which must have run")
	flag.Parse()
	status, err := run(os.Stdout, *list, flag.Args(), os.Getenv("VARVE_REQUIRE_SUITES") == "1")
	if err != nil {
		fmt.Fprintln(os.Stderr, "suites:", err)
		os.Exit(2)
	}
	os.Exit(status)
}

// run starts the command, prints its outcome to out and gives the exit status:
// the command's own if that is not 0, else 1 where a suite is missing.
func run(out io.Writer, listPath string, command []string, strict bool) (int, error) {
	if len(command) == 0 {
		return 0, fmt.Errorf("nothing to run: give the command after --, as in: suites -- go test -json PACKAGES")
	}
	var required []suite
	if listPath != "" {
		text, err := os.ReadFile(listPath)
		if err != nil {
			return 0, fmt.Errorf("read the list of suites: %w", err)
		}
		if required, err = parseList(string(text)); err != nil {
			return 0, fmt.Errorf("read %s: %w", listPath, err)
		}
	}
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec // the command is ours, from the Makefile
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return 0, fmt.Errorf("open the pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", command[0], err)
	}
	report, readErr := follow(pipe, out)
	status := 0
	if cmd.Wait() != nil { // a test failed, or the command could not go on: it said why itself
		status = max(cmd.ProcessState.ExitCode(), 1)
	}
	if readErr != nil {
		return 0, readErr
	}
	problems := report.problems(required, strict)
	report.print(out, problems)
	if status == 0 && len(problems) > 0 {
		status = 1
	}
	return status, nil
}

// suite is one line of the list: a test that must have run and passed.
type suite struct{ pkg, test string }

// parseList reads lines of "package Test  # what it proves".
func parseList(text string) ([]suite, error) {
	var all []suite
	for number, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		switch len(fields) {
		case 0:
		case 2:
			all = append(all, suite{fields[0], fields[1]})
		default:
			return nil, fmt.Errorf("line %d: want a package and a test, found %q", number+1, strings.TrimSpace(line))
		}
	}
	return all, nil
}
