package serve

import (
	"fmt"
	nethttp "net/http"
	"slices"
	"strings"
)

// Roles of a process. Each may run in any number of processes of one installation.
const (
	RoleAPI       = "api"       // answers requests; follows the feed for the index of the namespaces that it is asked about
	RoleProjector = "projector" // keeps the read models, one owner a model and shard
	RoleRelay     = "relay"     // publishes to Kafka, one owner a shard
	RoleWorker    = "worker"    // extracts the objects of batches, shared object by object; reads customers' topics
)

var allRoles = []string{RoleAPI, RoleProjector, RoleRelay, RoleWorker}

func (c Config) has(role string) bool { return len(c.Roles) == 0 || slices.Contains(c.Roles, role) }

// checkRoles says whether the roles can run: what is kept in a directory is one
// process's, which must do everything.
func (c Config) checkRoles() error {
	for _, role := range c.Roles {
		if !slices.Contains(allRoles, role) {
			return fmt.Errorf("--roles names %q: there are %s", role, strings.Join(allRoles, ", "))
		}
	}
	if c.Store != "" {
		return nil
	}
	for _, role := range []string{RoleAPI, RoleProjector, RoleWorker} {
		if !c.has(role) {
			return fmt.Errorf("--roles leaves out %s, but what is kept in a directory is one process's: leave --roles out, or name a database with --store postgres://…", role)
		}
	}
	return nil
}

// outside are the paths that every process answers.
var outside = []string{"/v1/health", "/metrics"}

// handler answers requests; where the process has no api role, only those from outside
// the API.
func (v *Varve) handler() nethttp.Handler {
	api := v.API.Handler()
	if v.Config.has(RoleAPI) {
		return api
	}
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		for _, path := range outside {
			if r.URL.Path == path || strings.HasPrefix(r.URL.Path, path+"/") {
				api.ServeHTTP(w, r)
				return
			}
		}
		nethttp.Error(w, "this process does not serve the API: ask one with the role api", nethttp.StatusMisdirectedRequest)
	})
}
