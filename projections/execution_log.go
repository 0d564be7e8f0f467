package projections

import (
	"strconv"
	"strings"

	"varve/eventstore"
)

// ExecutionLog names the log in which a shard of the executions store keeps the
// execution records of a namespace: a log has one writer and one chain. On shard 0,
// where a process alone writes, it has the namespace's own log's name.
func ExecutionLog(log eventstore.LogID, shard int) eventstore.LogID {
	if shard == 0 {
		return log
	}
	return log + "@" + eventstore.LogID(strconv.Itoa(shard))
}

// NamespaceLog is the namespace's log of an execution log; of any other log it is
// that log.
func NamespaceLog(log eventstore.LogID) eventstore.LogID {
	name, _, _ := strings.Cut(string(log), "@")
	return eventstore.LogID(name)
}
