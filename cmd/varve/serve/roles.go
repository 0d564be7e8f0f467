package serve

import (
	"fmt"
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
