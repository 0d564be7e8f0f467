// Command bench reads what Go benchmarks print, repeats it, and ends with one
// table in Markdown: what was measured beside what is wanted. A metric NAME>= or
// NAME<= is what is wanted of the metric NAME; of several runs the median counts.
// Lines of its own add what a benchmark does not say itself:
//
//	# wanted BENCHMARK METRIC >= NUMBER
//	# ratio BENCHMARK BENCHMARK METRIC >= NUMBER
//
// Its exit status is 1 where a benchmark failed, or one that is wanted did not
// run; numbers that are not reached are marked in the table.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// result is one benchmark: its metrics in the order in which they came, each with
// the numbers of all runs.
type result struct {
	name    string
	metrics []string
	numbers map[string][]float64
}

func (r *result) add(metric string, n float64) {
	if _, known := r.numbers[metric]; !known {
		r.metrics = append(r.metrics, metric)
	}
	r.numbers[metric] = append(r.numbers[metric], n)
}

// median is NaN-free: it is asked only for metrics that are there.
func (r *result) median(metric string) float64 {
	all := slices.Sorted(slices.Values(r.numbers[metric]))
	return all[len(all)/2]
}

type table struct {
	results []*result
	failed  []string
}

func (t *table) find(name string) *result {
	for _, r := range t.results {
		if r.name == name {
			return r
		}
	}
	return nil
}

func (t *table) named(name string) *result {
	if r := t.find(name); r != nil {
		return r
	}
	r := &result{name: name, numbers: map[string][]float64{}}
	t.results = append(t.results, r)
	return r
}

func run(in io.Reader, out io.Writer) error {
	var t table
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if _, err := fmt.Fprintln(out, lines.Text()); err != nil {
			return err
		}
		if err := t.read(lines.Text()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if _, err := io.WriteString(out, "\n"+t.markdown()); err != nil {
		return err
	}
	if len(t.failed) > 0 {
		return errors.New(strings.Join(t.failed, "; "))
	}
	return nil
}

var processors = regexp.MustCompile(`-\d+$`)

func (t *table) read(line string) error {
	words := strings.Fields(line)
	switch {
	case len(words) == 0:
	case words[0] == "#" && len(words) > 2:
		return t.order(words[1:])
	case strings.HasPrefix(words[0], "Benchmark") && len(words) >= 4:
		r := t.named(processors.ReplaceAllString(strings.TrimPrefix(words[0], "Benchmark"), ""))
		for i := 2; i+1 < len(words); i += 2 {
			n, err := strconv.ParseFloat(words[i], 64)
			if err != nil {
				return fmt.Errorf("%q: %w", line, err)
			}
			if words[i+1] != "ns/op" {
				r.add(words[i+1], n)
			}
		}
	case words[0] == "FAIL" || words[0] == "panic:" || words[0] == "---" && len(words) > 1 && words[1] == "FAIL:":
		t.failed = append(t.failed, line)
	}
	return nil
}

// order obeys a line of the command's own.
func (t *table) order(words []string) error {
	if words[0] != "wanted" && words[0] != "ratio" {
		return nil
	}
	bad := fmt.Errorf("%q: it must be wanted BENCHMARK METRIC >= NUMBER, or ratio BENCHMARK BENCHMARK METRIC >= NUMBER", strings.Join(words, " "))
	wantedWords := map[string]int{"wanted": 5, "ratio": 6}[words[0]]
	if len(words) != wantedWords {
		return bad
	}
	metric, sign := words[len(words)-3], words[len(words)-2]
	n, err := strconv.ParseFloat(words[len(words)-1], 64)
	if err != nil || sign != ">=" && sign != "<=" {
		return bad
	}
	names := words[1 : len(words)-3]
	for _, name := range names {
		if r := t.find(name); r == nil || r.numbers[metric] == nil {
			t.failed = append(t.failed, name+" did not report "+metric)
			return nil
		}
	}
	r := t.find(names[0])
	if words[0] == "ratio" {
		other := t.find(names[1])
		r = t.named(names[0] + " ÷ " + names[1])
		r.add("ratio", t.find(names[0]).median(metric)/other.median(metric))
		metric = "ratio"
	}
	r.add(metric+sign, n)
	return nil
}

func (t *table) markdown() string {
	var b strings.Builder
	b.WriteString("| bench | measured | wanted | | beside it |\n|---|---|---|---|---|\n")
	for _, r := range t.results {
		var beside []string
		var wanted []string
		for _, m := range r.metrics {
			switch {
			case strings.HasSuffix(m, ">=") || strings.HasSuffix(m, "<="):
				wanted = append(wanted, m)
			case r.numbers[m+">="] == nil && r.numbers[m+"<="] == nil:
				beside = append(beside, number(r.median(m))+" "+unit(m))
			}
		}
		if len(wanted) == 0 {
			wanted = []string{""}
		}
		name := r.name
		for _, w := range wanted {
			measured, verdict := "", ""
			if w != "" {
				metric, sign := w[:len(w)-2], w[len(w)-2:]
				n, limit := r.median(metric), r.median(w)
				measured = number(n) + " " + unit(metric)
				verdict = "reached"
				if sign == ">=" && n < limit || sign == "<=" && n > limit {
					verdict = "**not reached**"
				}
				w = map[string]string{">=": "≥ ", "<=": "≤ "}[sign] + number(limit)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, measured, w, verdict, strings.Join(beside, ", "))
			name, beside = "…", nil
		}
	}
	return b.String()
}

// unit writes a metric's name as a person would.
func unit(metric string) string {
	for _, u := range []string{"_ms", "_%"} {
		if what, ok := strings.CutSuffix(metric, u); ok {
			return u[1:] + " " + strings.ReplaceAll(what, "_", " ")
		}
	}
	return strings.ReplaceAll(metric, "_", " ")
}

// number has three digits, thousands in groups.
func number(n float64) string {
	switch {
	case n >= 1000:
		digits := strconv.FormatFloat(n, 'f', 0, 64)
		for i := len(digits) - 3; i > 0; i -= 3 {
			digits = digits[:i] + "," + digits[i:]
		}
		return digits
	case n >= 100:
		return strconv.FormatFloat(n, 'f', 0, 64)
	case n >= 10:
		return strconv.FormatFloat(n, 'f', 1, 64)
	}
	return strconv.FormatFloat(n, 'f', 2, 64)
}
