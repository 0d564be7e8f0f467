package deploy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"varve/cmd/varve/metrics"
)

// exported are the metrics that Varve has, each with its labels; a histogram
// stands under the three names that Prometheus gives it.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{
		"up": nil, "process_resident_memory_bytes": nil, "process_cpu_seconds_total": nil, // Prometheus' and its client's own
	}
	word := regexp.MustCompile("`([a-z_]+)`")
	for line := range strings.Lines(metrics.Table()) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.Contains(cells[1], "`varve_") {
			continue
		}
		name := word.FindStringSubmatch(cells[1])[1]
		labels := []string{}
		for _, m := range word.FindAllStringSubmatch(cells[3], -1) {
			labels = append(labels, m[1])
		}
		if strings.TrimSpace(cells[2]) != "histogram" {
			all[name] = labels
			continue
		}
		for _, end := range []string{"_bucket", "_sum", "_count"} {
			all[name+end] = append(labels, "le")
		}
	}
	if len(all) < 30 {
		t.Fatalf("%d metrics are too few to be all", len(all))
	}
	return all
}

var (
	metricName = regexp.MustCompile(`\b(varve_[a-z_]+|process_[a-z_]+|up)\b`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
	matchers   = regexp.MustCompile(`([a-z_]+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
)

// asked holds a query against the metrics that there are.
func asked(t *testing.T, where, query string, all map[string][]string) {
	t.Helper()
	target := []string{"instance", "role", "job"} // from the scrape
	labels := slices.Clone(target)
	names := metricName.FindAllString(query, -1)
	if len(names) == 0 {
		t.Errorf("%s asks for no metric: %s", where, query)
	}
	for _, name := range names {
		of, known := all[name]
		if !known {
			t.Errorf("%s asks for %s, which Varve does not have: %s", where, name, query)
		}
		labels = append(labels, of...)
	}
	for _, group := range grouping.FindAllStringSubmatch(query, -1) {
		for label := range strings.SplitSeq(group[1], ",") {
			if !slices.Contains(labels, strings.TrimSpace(label)) {
				t.Errorf("%s groups by %s, which %v do not have: %s", where, label, names, query)
			}
		}
	}
	for _, m := range matchers.FindAllStringSubmatch(query, -1) {
		for _, label := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(slices.Concat(all[m[1]], target), label[1]) {
				t.Errorf("%s asks for %s of %s, which it does not have: %s", where, label[1], m[1], query)
			}
		}
	}
}

// Every query of the dashboard asks for metrics and labels that there are, and
// what operations need to see is among them.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("grafana/dashboards/varve.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		UID, Title string
		Panels     []struct {
			ID         int
			Title      string
			Type       string
			Datasource struct{ UID string }
			Targets    []struct{ Expr string }
			GridPos    struct{ X, Y, W, H int }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	all, seen, ids := exported(t), "", map[int]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("%q has another's id", p.Title)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.H == 0 {
			t.Errorf("%q stands outside of the 24 columns: %+v", p.Title, p.GridPos)
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "prometheus" || len(p.Targets) == 0 {
			t.Errorf("%q asks nothing, or not Prometheus", p.Title)
		}
		for _, target := range p.Targets {
			asked(t, p.Title, target.Expr, all)
			seen += target.Expr + "\n"
		}
	}
	for _, wanted := range []string{"varve_append_duration_seconds_bucket", "varve_commit_appends_sum", "varve_feed_head", "varve_model_lag_events", "varve_model_lag_seconds",
		"varve_relay_lag_events", "varve_relay_lag_seconds", "varve_model_parked_streams", "varve_batch_objects", "varve_http_request_duration_seconds_bucket", "varve_index_memory_bytes"} {
		if !strings.Contains(seen, wanted) {
			t.Errorf("no panel shows %s", wanted)
		}
	}
	source, err := os.ReadFile("grafana/provisioning/datasources/prometheus.yml")
	if err != nil || !strings.Contains(string(source), "uid: prometheus\n") {
		t.Errorf("the panels' data source is not provisioned: %v", err)
	}
}

// Alerts ask for what there is; Prometheus looks where docker-compose.yml runs Varve.
func TestPrometheus(t *testing.T) {
	var rules struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	}
	strictly(t, "prometheus/alerts.yml", &rules)
	all, n := exported(t), 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			n++
			asked(t, r.Alert, r.Expr, all)
			if r.Alert == "" || r.For == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("%+v lacks something", r)
			}
		}
	}
	if n == 0 {
		t.Error("there are no alerts")
	}
	var config struct {
		Global    map[string]string `json:"global"`
		RuleFiles []string          `json:"rule_files"`
		Scrape    []struct {
			Job string `json:"job_name"`
			DNS []struct {
				Names   []string `json:"names"`
				Type    string   `json:"type"`
				Port    int      `json:"port"`
				Refresh string   `json:"refresh_interval"`
			} `json:"dns_sd_configs"`
			Relabel []map[string]any `json:"relabel_configs"`
		} `json:"scrape_configs"`
	}
	strictly(t, "prometheus/prometheus.yml", &config)
	if len(config.Scrape) != 1 || config.Scrape[0].Job != "varve" || len(config.Scrape[0].DNS) != 1 || !slices.Equal(config.Scrape[0].DNS[0].Names, roles) {
		t.Errorf("what is scraped: %+v", config.Scrape)
	}
	p := load(t, "../docker-compose.yml", nil)
	for _, role := range roles {
		if listen := p.Services[role].Environment["VARVE_METRICS_LISTEN"]; listen == nil || *listen != "0.0.0.0:9100" || config.Scrape[0].DNS[0].Port != 9100 {
			t.Errorf("%s shows its metrics at %v, and Prometheus asks port %d", role, listen, config.Scrape[0].DNS[0].Port)
		}
	}
	for _, file := range config.RuleFiles {
		if _, err := os.Stat(filepath.Join("prometheus", filepath.Base(file))); err != nil {
			t.Error(err)
		}
	}
}

func strictly(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
