package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const events = `{"Action":"run","Package":"varve/a","Test":"TestGood"}
{"Action":"output","Package":"varve/a","Test":"TestGood","Output":"chatter\n"}
{"Action":"output","Package":"varve/a","Test":"TestGood","Output":"    a_test.go:7: report: 12 things checked\n"}
{"Action":"pass","Package":"varve/a","Test":"TestGood"}
{"Action":"output","Package":"varve/a","Test":"TestServer","Output":"=== RUN   TestServer\n"}
{"Action":"output","Package":"varve/a","Test":"TestServer","Output":"    a_test.go:9: set VARVE_X\n"}
{"Action":"output","Package":"varve/a","Test":"TestServer","Output":"--- SKIP: TestServer (0.00s)\n"}
{"Action":"skip","Package":"varve/a","Test":"TestServer"}
{"Action":"output","Package":"varve/a","Output":"PASS\n"}
{"Action":"output","Package":"varve/a","Output":"ok  \tvarve/a\t0.01s\n"}
{"Action":"pass","Package":"varve/a"}
`

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name, list string
		strict     bool
		exit       string
		status     int
		want       []string
		never      string
	}{
		{name: "a skip is told", exit: "0", status: 0, want: []string{"ok  \tvarve/a\t0.01s", "skipped: varve/a TestServer: a_test.go:9: set VARVE_X", "1 tests ran, 1 skipped", "\n12 things checked"}, never: "chatter"},
		{name: "a skip fails a strict run", strict: true, exit: "0", status: 1, want: []string{"FAIL\tvarve/a TestServer was skipped"}},
		{name: "a named suite that ran", list: "varve/a TestGood # proves a\n", exit: "0", status: 0},
		{name: "a named suite that was skipped", list: "varve/a TestServer\n", exit: "0", status: 1, want: []string{"FAIL\tvarve/a TestServer was skipped"}},
		{name: "a named suite that is gone", list: "varve/a TestGone\n", exit: "0", status: 1, want: []string{"varve/a TestGone did not run"}},
		{name: "the command's own status", exit: "3", status: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			stream := filepath.Join(dir, "events")
			if err := os.WriteFile(stream, []byte(events), 0o600); err != nil {
				t.Fatal(err)
			}
			list := ""
			if c.list != "" {
				list = filepath.Join(dir, "list")
				if err := os.WriteFile(list, []byte(c.list), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out bytes.Buffer
			status, err := run(&out, list, []string{"sh", "-c", "cat " + stream + "; exit " + c.exit}, c.strict)
			if err != nil {
				t.Fatal(err)
			}
			if status != c.status {
				t.Errorf("status %d, want %d\n%s", status, c.status, out.String())
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out.String())
				}
			}
			if c.never != "" && strings.Contains(out.String(), c.never) {
				t.Errorf("output has %q:\n%s", c.never, out.String())
			}
		})
	}
}

// A panic ends a test binary without a verdict for the test: its output must
// still be shown.
func TestFailuresAreShown(t *testing.T) {
	var out bytes.Buffer
	in := `{"ImportPath":"varve/b","Action":"build-output","Output":"b.go:1: syntax error\n"}
{"Action":"output","Package":"varve/c","Test":"TestDies","Output":"panic: boom\n"}
{"Action":"output","Package":"varve/c","Output":"exit status 2\n"}
{"Action":"output","Package":"varve/c","Output":"FAIL\tvarve/c\t0.01s\n"}
{"Action":"fail","Package":"varve/c"}
not an event
`
	if _, err := follow(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"b.go:1: syntax error", "panic: boom", "exit status 2", "FAIL\tvarve/c", "not an event"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
}

func TestListIsChecked(t *testing.T) {
	if _, err := parseList("varve/a TestX extra\n"); err == nil {
		t.Error("a line with three words was accepted")
	}
	all, err := parseList("# only a comment\n\nvarve/a TestX # why\n")
	if err != nil || len(all) != 1 || all[0] != (suite{"varve/a", "TestX"}) {
		t.Errorf("got %v, %v", all, err)
	}
}
