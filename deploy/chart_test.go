package deploy_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// helm runs the tool that `make test` installs.
func helm(t *testing.T, arguments ...string) (output string, err error) {
	t.Helper()
	tool := os.Getenv("VARVE_HELM")
	if tool == "" {
		t.Skip("VARVE_HELM names no helm: make test installs one")
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), tool, arguments...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "HELM_NO_PLUGINS=1")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("helm %s: %w: %s", arguments[0], err, stderr.String())
	}
	return stdout.String(), nil
}

func render(t *testing.T, values ...string) (string, error) {
	t.Helper()
	arguments := []string{"template", "trial", "helm", "--kube-version", "1.33.0", "--namespace", "elsewhere"}
	for _, v := range values {
		how := "--set"
		if strings.HasPrefix(v, "settings.") {
			how = "--set-string" // as environment variables are
		}
		arguments = append(arguments, how, v)
	}
	return helm(t, arguments...)
}

var needed = []string{"existingSecret=dsn", "image.repository=registry.example/varve", "image.tag=1.2.3"}

// objects is what a chart gives, by name within its kind.
type objects struct {
	deployments map[string]appsv1.Deployment
	budgets     map[string]policyv1.PodDisruptionBudget
	scalers     map[string]autoscalingv2.HorizontalPodAutoscaler
	services    map[string]corev1.Service
	accounts    map[string]corev1.ServiceAccount
	ingresses   map[string]networkingv1.Ingress
}

// decode reads every manifest into the type of its kind; a field that the type
// does not have, or has twice, is an error, as is a kind that is not expected.
func decode(t *testing.T, manifests string) objects {
	t.Helper()
	o := objects{map[string]appsv1.Deployment{}, map[string]policyv1.PodDisruptionBudget{}, map[string]autoscalingv2.HorizontalPodAutoscaler{},
		map[string]corev1.Service{}, map[string]corev1.ServiceAccount{}, map[string]networkingv1.Ingress{}}
	for text := range strings.SplitSeq("\n"+manifests, "\n---\n") {
		var kind struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal([]byte(text), &kind); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		switch kind.APIVersion + " " + kind.Kind {
		case " ":
		case "apps/v1 Deployment":
			into(t, text, o.deployments, func(d appsv1.Deployment) string { return d.Name })
		case "policy/v1 PodDisruptionBudget":
			into(t, text, o.budgets, func(b policyv1.PodDisruptionBudget) string { return b.Name })
		case "autoscaling/v2 HorizontalPodAutoscaler":
			into(t, text, o.scalers, func(s autoscalingv2.HorizontalPodAutoscaler) string { return s.Name })
		case "v1 Service":
			into(t, text, o.services, func(s corev1.Service) string { return s.Name })
		case "v1 ServiceAccount":
			into(t, text, o.accounts, func(a corev1.ServiceAccount) string { return a.Name })
		case "networking.k8s.io/v1 Ingress":
			into(t, text, o.ingresses, func(i networkingv1.Ingress) string { return i.Name })
		default:
			t.Errorf("unexpected %s %s", kind.APIVersion, kind.Kind)
		}
	}
	return o
}

func into[T any](t *testing.T, text string, all map[string]T, name func(T) string) {
	t.Helper()
	var one T
	converted, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	unknown, err := kjson.UnmarshalStrict(converted, &one) // upper and lower case count, as they do in Kubernetes
	if err = errors.Join(append(unknown, err)...); err != nil {
		t.Errorf("%T: %v in\n%s", one, err, text)
	}
	if _, twice := all[name(one)]; twice {
		t.Errorf("%T %s is there twice", one, name(one))
	}
	all[name(one)] = one
}

// The chart with what it must be told, and nothing more.
func TestChart(t *testing.T) {
	text, err := render(t, needed...)
	if err != nil {
		t.Fatal(err)
	}
	o := decode(t, text)
	if len(o.deployments) != len(roles) || len(o.budgets) != len(roles) || len(o.services) != 1 || len(o.accounts) != 1 || len(o.ingresses) != 0 {
		t.Errorf("%d deployments, %d budgets, %d services, %d accounts, %d ingresses", len(o.deployments), len(o.budgets), len(o.services), len(o.accounts), len(o.ingresses))
	}
	for _, role := range roles {
		name := "trial-varve-" + role
		d, budget := o.deployments[name], o.budgets[name]
		deployment(t, role, &d)
		selects(t, name+"'s budget", budget.Spec.Selector.MatchLabels, &d)
		if budget.Spec.MaxUnavailable.IntValue() != 1 {
			t.Errorf("%s's budget: %v", name, budget.Spec.MaxUnavailable)
		}
		if s, scaled := o.scalers[name]; scaled {
			scaler(t, role, &s, &d)
		} else if d.Spec.Replicas == nil || *d.Spec.Replicas < 2 {
			t.Errorf("%s is neither scaled nor has two processes: %v", name, d.Spec.Replicas)
		}
	}
	api := o.deployments["trial-varve-api"]
	selects(t, "the service", o.services["trial-varve"].Spec.Selector, &api)
	if target := o.services["trial-varve"].Spec.Ports[0].TargetPort.StrVal; target != "http" {
		t.Errorf("the service sends to %q", target)
	}
	if len(o.scalers) < 3 {
		t.Errorf("scaled are %v", slices.Collect(maps.Keys(o.scalers)))
	}
}

func selects(t *testing.T, what string, selector map[string]string, d *appsv1.Deployment) {
	t.Helper()
	if len(selector) == 0 {
		t.Errorf("%s selects everything", what)
	}
	for label, value := range selector {
		if d.Spec.Template.Labels[label] != value {
			t.Errorf("%s selects %s=%s, which %s does not have", what, label, value, d.Name)
		}
	}
}

func deployment(t *testing.T, role string, d *appsv1.Deployment) {
	t.Helper()
	selects(t, d.Name, d.Spec.Selector.MatchLabels, d)
	pod := d.Spec.Template.Spec
	if len(pod.Containers) != 1 {
		t.Fatalf("%s has %d containers", d.Name, len(pod.Containers))
	}
	c := pod.Containers[0]
	if c.Image != "registry.example/varve:1.2.3" {
		t.Errorf("%s runs %s", d.Name, c.Image)
	}
	if p := pod.SecurityContext; !*p.RunAsNonRoot || *p.RunAsUser == 0 || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *pod.AutomountServiceAccountToken {
		t.Errorf("%s: the pod's rights: %+v", d.Name, p)
	}
	if s := c.SecurityContext; !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !slices.Contains(s.Capabilities.Drop, "ALL") || len(s.Capabilities.Add) > 0 {
		t.Errorf("%s: the container's rights: %+v", d.Name, s)
	}
	for what, probe := range map[string]*corev1.Probe{"/v1/health/live": c.LivenessProbe, "/v1/health/ready": c.ReadinessProbe} {
		if probe == nil || probe.HTTPGet.Path != what || probe.HTTPGet.Port.StrVal != "http" {
			t.Errorf("%s: probe of %s: %+v", d.Name, what, probe)
		}
	}
	if c.StartupProbe == nil || c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("%s has no startup probe, or no resources: %+v", d.Name, c.Resources)
	}
	if len(c.EnvFrom) != 1 || c.EnvFrom[0].SecretRef.Name != "dsn" {
		t.Errorf("%s takes its secrets from %+v", d.Name, c.EnvFrom)
	}
	known, set := flags(t), map[string]string{}
	for _, e := range c.Env {
		if _, twice := set[e.Name]; twice || e.Value == "" {
			t.Errorf("%s: %s is set twice, or to nothing", d.Name, e.Name)
		}
		if set[e.Name] = e.Value; !slices.Contains(known, e.Name) {
			t.Errorf("%s: %s is no variable of varve serve", d.Name, e.Name)
		}
	}
	if set["VARVE_ROLES"] != role {
		t.Errorf("%s has the role %q", d.Name, set["VARVE_ROLES"])
	}
	mounted := map[string]bool{}
	for _, m := range c.VolumeMounts {
		mounted[m.MountPath] = slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
	}
	if !mounted[set["VARVE_DATA"]] || !mounted["/tmp"] {
		t.Errorf("%s: with a root that is only read, %v is too little to write to", d.Name, mounted)
	}
}

func scaler(t *testing.T, role string, s *autoscalingv2.HorizontalPodAutoscaler, d *appsv1.Deployment) {
	t.Helper()
	if s.Spec.ScaleTargetRef.Name != d.Name || s.Spec.ScaleTargetRef.Kind != "Deployment" || d.Spec.Replicas != nil {
		t.Errorf("%s scales %+v, which has %v replicas of its own", s.Name, s.Spec.ScaleTargetRef, d.Spec.Replicas)
	}
	if *s.Spec.MinReplicas < 1 || s.Spec.MaxReplicas < *s.Spec.MinReplicas {
		t.Errorf("%s: from %d to %d", s.Name, *s.Spec.MinReplicas, s.Spec.MaxReplicas)
	}
	adapter, err := os.ReadFile("helm/prometheus-adapter.yaml")
	if err != nil {
		t.Fatal(err)
	}
	byLag, byCPU := false, false
	for _, m := range s.Spec.Metrics {
		switch {
		case m.External != nil:
			byLag = !m.External.Target.AverageValue.IsZero()
			if !strings.Contains(string(adapter), "{as: "+m.External.Metric.Name+"}") {
				t.Errorf("%s scales by %s, which prometheus-adapter.yaml does not bring", s.Name, m.External.Metric.Name)
			}
		case m.Resource != nil:
			byCPU = *m.Resource.Target.AverageUtilization > 0
		}
	}
	if !byCPU || byLag != (role != "api") {
		t.Errorf("%s scales by processor time: %t, by lag: %t", s.Name, byCPU, byLag)
	}
}

// What values change, and what they must not.
func TestChartValues(t *testing.T) {
	text, err := render(t, append(slices.Clone(needed), "image.tag=", "image.digest=sha256:"+strings.Repeat("a", 64), "ingress.enabled=true", "ingress.host=varve.example", "ingress.tlsSecret=tls",
		"roles.relay.autoscaling.enabled=true", "roles.worker.autoscaling=null", "roles.worker.replicas=3", "roles.api.data.storageClass=fast", "settings.VARVE_WORKERS=2", "settings.OTEL_SERVICE_NAME=varve")...)
	if err != nil {
		t.Fatal(err)
	}
	o := decode(t, text)
	worker, ingress := o.deployments["trial-varve-worker"], o.ingresses["trial-varve"]
	if *worker.Spec.Replicas != 3 || len(o.scalers) != 3 || !strings.HasSuffix(worker.Spec.Template.Spec.Containers[0].Image, "varve@sha256:"+strings.Repeat("a", 64)) {
		t.Errorf("workers: %+v; %d scalers", worker.Spec, len(o.scalers))
	}
	for _, e := range worker.Spec.Template.Spec.Containers[0].Env {
		if e.Name == "VARVE_WORKERS" && e.Value != "8" {
			t.Errorf("what all have replaced what the role has: %+v", e)
		}
	}
	if len(ingress.Spec.TLS) != 1 || ingress.Spec.Rules[0].Host != "varve.example" || ingress.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Name != "trial-varve" {
		t.Errorf("ingress: %+v", ingress.Spec)
	}
	for _, of := range []struct {
		values []string
		want   string
	}{
		{needed[1:], "existingSecret"},
		{needed[:1], "image.repository"},
		{needed[:2], "image.tag"},
		{append(slices.Clone(needed), "image.tag=latest"), "image"},
		{append(slices.Clone(needed), "roles.workers.replicas=1"), "workers"},
		{append(slices.Clone(needed), "settings.VARVE_STORE=postgres://u:p@h/d"), "VARVE_STORE"},
		{append(slices.Clone(needed), "roles.api.autoscaling.maximum=3"), "maximum"},
		{append(slices.Clone(needed), "ingress.enabled=true"), "ingress.host"},
	} {
		if _, err := render(t, of.values...); err == nil || !strings.Contains(err.Error(), of.want) {
			t.Errorf("%v: %v; want something of %s", of.values, err, of.want)
		}
	}
}

// Helm's own checks find nothing.
func TestChartLint(t *testing.T) {
	arguments := []string{"lint", "helm", "--strict", "--kube-version", "1.33.0"}
	for _, v := range needed {
		arguments = append(arguments, "--set", v)
	}
	if output, err := helm(t, arguments...); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// What the adapter brings asks for metrics that there are.
func TestPrometheusAdapter(t *testing.T) {
	var adapter struct {
		Rules struct {
			External []struct {
				Series    string            `json:"seriesQuery"`
				Query     string            `json:"metricsQuery"`
				Name      map[string]string `json:"name"`
				Resources map[string]any    `json:"resources"`
			} `json:"external"`
		} `json:"rules"`
	}
	strictly(t, "helm/prometheus-adapter.yaml", &adapter)
	all := exported(t)
	for _, r := range adapter.Rules.External {
		asked(t, r.Name["as"], strings.ReplaceAll(r.Query, "<<.LabelMatchers>>", ""), all)
		asked(t, r.Name["as"], r.Series, all)
	}
	if len(adapter.Rules.External) != 3 {
		t.Errorf("%d rules", len(adapter.Rules.External))
	}
}
