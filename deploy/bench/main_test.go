package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	in := `goos: linux
BenchmarkAppend/16x1-2   1   0 ns/op   0.9 ratio  0.7 ratio>=  1700 events/s  2.35 p99_ms
BenchmarkAppend/16x1-2   1   0 ns/op   0.6 ratio  0.7 ratio>=  1900 events/s  2.5 p99_ms
BenchmarkAppend/16x1-2   1   0 ns/op   0.65 ratio  0.7 ratio>=  12345 events/s  2.45 p99_ms
BenchmarkGoes/16x1 1 950 events/s
# a remark
# ratio Append/16x1 Goes/16x1 events/s >= 1.7
# wanted Goes/16x1 events/s <= 1000
`
	want := `| bench | measured | wanted | | beside it |
|---|---|---|---|---|
| Append/16x1 | 0.65 ratio | ≥ 0.70 | **not reached** | 1,900 events/s, 2.45 ms p99 |
| Goes/16x1 | 950 events/s | ≤ 1,000 | reached |  |
| Append/16x1 ÷ Goes/16x1 | 2.00 ratio | ≥ 1.70 | reached |  |
`
	var out bytes.Buffer
	if err := run(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != in+"\n"+want {
		t.Errorf("%s", out.String())
	}
	for name, bad := range map[string]string{
		"a failed benchmark":       "--- FAIL: BenchmarkAppend/1x1\n",
		"a failed package":         "FAIL\tvarve/eventstore/bus\t1.0s\n",
		"a benchmark that is away": "# wanted Relay events/s >= 1\n",
		"an order without a sign":  "BenchmarkA 1 1 x\n# wanted A x = 1\n",
		"a number that is none":    "BenchmarkA 1 one x\n",
	} {
		if err := run(strings.NewReader(bad), &bytes.Buffer{}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
