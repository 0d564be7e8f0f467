package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
)

// event is what `go test -json` writes, one a line (see `go doc test2json`).
type event struct {
	Action     string
	Package    string
	Test       string
	Output     string
	ImportPath string
}

// report is what a run did, test by test.
type report struct {
	outcome map[suite]string         // pass, fail, skip
	output  map[suite]*bytes.Buffer  // of tests that are running or failed
	skipped []suite                  // in the order in which they were skipped
	reason  map[suite]string         // of those
	lines   map[string]*bytes.Buffer // a package's own output
	reports []string                 // lines that tests wrote for the end of the run
	ran     int                      // tests that passed or failed
}

// follow reads events until the end and prints packages as they finish. Lines
// that are no event (of a tool before the tests) are printed as they are.
func follow(in io.Reader, out io.Writer) (*report, error) {
	r := &report{
		outcome: map[suite]string{}, output: map[suite]*bytes.Buffer{},
		reason: map[suite]string{}, lines: map[string]*bytes.Buffer{},
	}
	reader := bufio.NewReaderSize(in, 1<<16)
	for {
		line, err := reader.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				out.Write(line) //nolint:errcheck // printing
			} else {
				r.take(e, out)
			}
		}
		if err == io.EOF {
			return r, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the test events: %w", err)
		}
	}
}

// take folds one event.
func (r *report) take(e event, out io.Writer) {
	key := suite{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "output":
		if e.Test == "" {
			r.packageOutput(e, out)
			return
		}
		buffer := r.output[key]
		if buffer == nil {
			buffer = &bytes.Buffer{}
			r.output[key] = buffer
		}
		buffer.WriteString(e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			if e.Action == "fail" {
				r.flush(e.Package, out)
			}
			return
		}
		r.outcome[key] = e.Action
		if e.Action == "skip" {
			r.skipped = append(r.skipped, key)
			r.reason[key] = skipReason(r.output[key])
		} else {
			r.ran++
			r.reports = append(r.reports, reports(r.output[key])...)
		}
		if e.Action == "fail" && r.output[key] != nil {
			out.Write(r.output[key].Bytes()) //nolint:errcheck // printing
		}
		delete(r.output, key)
	}
}

// packageOutput prints the summary lines of a package and keeps the rest until
// it is known whether the package failed.
func (r *report) packageOutput(e event, out io.Writer) {
	for _, prefix := range []string{"ok  \t", "FAIL\t", "---", "?   \t", "Benchmark"} {
		if strings.HasPrefix(e.Output, prefix) {
			fmt.Fprint(out, e.Output)
			return
		}
	}
	if e.Output == "PASS\n" || e.Output == "FAIL\n" || strings.Contains(e.Output, "\t[no test files]") || strings.HasPrefix(e.Output, "\t") && strings.Contains(e.Output, "coverage:") {
		return
	}
	buffer := r.lines[e.Package]
	if buffer == nil {
		buffer = &bytes.Buffer{}
		r.lines[e.Package] = buffer
	}
	buffer.WriteString(e.Output)
}

// flush prints what is known of a package that failed: its own output, and the
// output of tests that never ended (a panic, a timeout).
func (r *report) flush(pkg string, out io.Writer) {
	if buffer := r.lines[pkg]; buffer != nil {
		out.Write(buffer.Bytes()) //nolint:errcheck // printing
		delete(r.lines, pkg)
	}
	var open []suite
	for key := range r.output {
		if key.pkg == pkg {
			open = append(open, key)
		}
	}
	sort.Slice(open, func(i, j int) bool { return open[i].test < open[j].test })
	for _, key := range open {
		out.Write(r.output[key].Bytes()) //nolint:errcheck // printing
		delete(r.output, key)
	}
}

// skipReason is the text that the test gave to Skip, without the file name's
// line and the verdict.
func skipReason(buffer *bytes.Buffer) string {
	if buffer == nil {
		return "no reason given"
	}
	var kept []string
	for line := range strings.SplitSeq(buffer.String(), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		kept = append(kept, line)
	}
	if len(kept) == 0 {
		return "no reason given"
	}
	return strings.Join(kept, " ")
}

// reports are the lines that a test logged with "report: " at their beginning,
// to be seen also when it passes.
func reports(buffer *bytes.Buffer) []string {
	var found []string
	if buffer == nil {
		return nil
	}
	for line := range strings.SplitSeq(buffer.String(), "\n") {
		if _, text, isReport := strings.Cut(line, ".go:"); isReport {
			if _, text, isReport = strings.Cut(text, ": report: "); isReport {
				found = append(found, text)
			}
		}
	}
	return found
}

// problems names required suites that did not run and pass, and in a strict run
// every skipped test.
func (r *report) problems(required []suite, strict bool) []string {
	var found []string
	for _, want := range required {
		switch r.outcome[want] {
		case "pass", "fail": // a failure is go test's own verdict
		case "skip":
			if !strict {
				found = append(found, fmt.Sprintf("%s %s was skipped: %s", want.pkg, want.test, r.reason[want]))
			}
		default:
			found = append(found, fmt.Sprintf("%s %s did not run: it was renamed, removed, or its package did not build", want.pkg, want.test))
		}
	}
	if strict {
		for _, key := range r.skipped {
			found = append(found, fmt.Sprintf("%s %s was skipped: %s", key.pkg, key.test, r.reason[key]))
		}
	}
	return found
}

// print ends the run with its counts, the skipped tests, and the problems.
func (r *report) print(out io.Writer, problems []string) {
	if len(problems) == 0 {
		for _, key := range r.skipped {
			fmt.Fprintf(out, "skipped: %s %s: %s\n", key.pkg, key.test, r.reason[key])
		}
	}
	for _, line := range r.reports {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintf(out, "%d tests ran, %d skipped\n", r.ran, len(r.skipped))
	for _, problem := range problems {
		fmt.Fprintln(out, "FAIL\t"+problem)
	}
	if len(problems) > 0 {
		fmt.Fprintln(out, "FAIL\ta suite must not be skipped here: install what it needs (make test does), or repair the list in deploy/suites.txt")
	}
}
