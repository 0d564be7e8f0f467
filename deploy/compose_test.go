package deploy_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"varve/cmd/varve/serve"
)

// load reads a compose file as Docker Compose does, its schema included.
func load(t *testing.T, file string, environment types.Mapping) *types.Project {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: filepath.Dir(path), ConfigFiles: []types.ConfigFile{{Filename: path}}, Environment: environment,
	}, func(o *loader.Options) { o.SetProjectName("varve", true) })
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return p
}

// flags are the environment variables of `varve serve`.
func flags(t *testing.T) []string {
	t.Helper()
	var all []string
	for f := range reflect.TypeFor[serve.Config]().Fields() {
		if name := f.Tag.Get("env"); name != "" {
			all = append(all, name)
		}
	}
	if len(all) < 15 {
		t.Fatalf("varve serve has the variables %v: too few to be all", all)
	}
	return all
}

var roles = []string{"api", "projector", "relay", "worker"}

var pinned = regexp.MustCompile(`:v?\d+(\.\d+)+([.-][a-z0-9.-]+)?$|@sha256:[0-9a-f]{64}$`)

// services holds what is wanted of every service of a compose file.
func services(t *testing.T, p *types.Project) {
	t.Helper()
	for name, s := range p.Services {
		if s.Build == nil && !pinned.MatchString(s.Image) {
			t.Errorf("%s: image %q names no version", name, s.Image)
		}
		if s.HealthCheck == nil || len(s.HealthCheck.Test) < 2 || s.HealthCheck.Disable {
			t.Errorf("%s has no health check", name)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to the network", name, port.Published)
			}
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind && strings.HasPrefix(v.Source, p.WorkingDir) {
				if _, err := os.Stat(v.Source); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

// docker-compose.yml runs the whole of Varve: read as Docker Compose reads it,
// with settings that `varve serve` has, and nothing that is not pinned, checked
// and kept.
func TestComposeFile(t *testing.T) {
	p := load(t, "../docker-compose.yml", nil)
	services(t, p)
	known := flags(t)
	var served []string
	for name, s := range p.Services {
		if s.Build == nil {
			if len(s.Volumes) == 0 {
				t.Errorf("%s keeps nothing", name)
			}
			continue
		}
		served = append(served, name)
		if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if role := s.Environment["VARVE_ROLES"]; role == nil || *role != name {
			t.Errorf("%s: VARVE_ROLES is %v", name, role)
		}
		for variable, value := range s.Environment {
			if strings.HasPrefix(variable, "VARVE_") && !slices.Contains(known, variable) {
				t.Errorf("%s: %s is no variable of varve serve", name, variable)
			}
			if value == nil || *value == "" {
				t.Errorf("%s: %s has no value", name, variable)
			}
		}
		for _, dependency := range []string{"postgres", "kafka", "s3"} {
			if s.DependsOn[dependency].Condition != types.ServiceConditionHealthy {
				t.Errorf("%s does not wait for %s", name, dependency)
			}
		}
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") {
			t.Errorf("%s may write its own file system, or has capabilities", name)
		}
	}
	slices.Sort(served)
	if !slices.Equal(served, roles) {
		t.Errorf("Varve runs as %v, and there are the roles %v", served, roles)
	}
	id, err := base64.RawURLEncoding.DecodeString(*p.Services["kafka"].Environment["CLUSTER_ID"])
	if err != nil || len(id) != 16 {
		t.Errorf("Kafka's CLUSTER_ID is no base64 of 16 bytes: %d, %v", len(id), err)
	}
	for name := range p.Volumes {
		if !slices.ContainsFunc(p.ServiceNames(), func(s string) bool {
			return slices.ContainsFunc(p.Services[s].Volumes, func(v types.ServiceVolumeConfig) bool { return v.Source == name })
		}) {
			t.Errorf("volume %s is nobody's", name)
		}
	}
}

// Passwords come from outside, and reach both sides.
func TestComposePasswords(t *testing.T) {
	p := load(t, "../docker-compose.yml", types.Mapping{"POSTGRES_PASSWORD": "pg-word", "S3_SECRET_KEY": "s3-word", "GRAFANA_PASSWORD": "g-word"})
	for _, of := range []struct{ service, variable, word string }{
		{"postgres", "POSTGRES_PASSWORD", "pg-word"}, {"api", "VARVE_STORE", "pg-word"}, {"worker", "VARVE_STORE", "pg-word"},
		{"s3", "ROOT_SECRET_KEY", "s3-word"}, {"api", "AWS_SECRET_ACCESS_KEY", "s3-word"}, {"grafana", "GF_SECURITY_ADMIN_PASSWORD", "g-word"},
	} {
		if value := p.Services[of.service].Environment[of.variable]; value == nil || !strings.Contains(*value, of.word) {
			t.Errorf("%s of %s is not what was set", of.variable, of.service)
		}
	}
}

// The services of tests as containers are the same versions as docker-compose.yml's
// and, but for PostgreSQL, as the programs that are installed without Docker.
func TestServicesComposeFile(t *testing.T) {
	p := load(t, "services/compose.yml", types.Mapping{"PORT": "20001", "SASL_PORT": "20002", "TLS_PORT": "20003", "SASL_TLS_PORT": "20004", "FOLDER": "/tmp/kafka", "STORAGE": "-t x"})
	services(t, p)
	users := load(t, "../docker-compose.yml", nil)
	programs, err := filepath.Glob("services/*.service")
	if err != nil || len(programs) != len(p.Services) {
		t.Errorf("%d services as programs, %d as containers: %v", len(programs), len(p.Services), err)
	}
	for name, s := range p.Services {
		if s.Image != users.Services[name].Image {
			t.Errorf("%s is %s here and %s in docker-compose.yml", name, s.Image, users.Services[name].Image)
		}
	}
	for file, image := range map[string]string{"services/kafka.pom.xml": p.Services["kafka"].Image, "services/s3.service": p.Services["s3"].Image} {
		text, err := os.ReadFile(file)
		_, version, _ := strings.Cut(image, ":")
		if err != nil || !strings.Contains(string(text), version) {
			t.Errorf("%s does not name version %s: %v", file, version, err)
		}
	}
}

// The image is built with the Go of go.mod, from pinned images, and is not root.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(module)
	if version == nil || !strings.Contains(string(text), "FROM golang:"+string(version[1])+" ") {
		t.Errorf("the Dockerfile does not build with Go %s", version)
	}
	if !regexp.MustCompile(`(?m)^USER [1-9]\d*:[1-9]\d*$`).Match(text) {
		t.Error("the Dockerfile ends as root, or as a user without a number, which Kubernetes cannot check")
	}
	for _, variable := range regexp.MustCompile(`VARVE_[A-Z_]+`).FindAllString(string(text), -1) {
		if !slices.Contains(flags(t), variable) {
			t.Errorf("%s is no variable of varve serve", variable)
		}
	}
}
