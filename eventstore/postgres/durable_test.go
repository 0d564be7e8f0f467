package postgres

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"varve/eventstore"
)

// TestCommitterSessionIsDurable reads the settings of the very session that
// commits, where the role's own say otherwise. A lost power supply cannot be
// tested; what keeps it harmless can.
func TestCommitterSessionIsDurable(t *testing.T) {
	name := schema(t)
	config, err := pgx.ParseConfig(database(t))
	if err != nil {
		t.Fatal(err)
	}
	for setting, value := range map[string]string{"synchronous_commit": "off", "default_transaction_isolation": "serializable", "plan_cache_mode": "force_custom_plan", "enable_seqscan": "on"} {
		execute(t, fmt.Sprintf("ALTER ROLE %s IN DATABASE %s SET %s = '%s'", config.User, config.Database, setting, value))
	}
	defer execute(t, fmt.Sprintf("ALTER ROLE %s IN DATABASE %s RESET ALL", config.User, config.Database))
	e, err := OpenEngine(context.Background(), database(t), Options{Schema: name})
	if err != nil {
		t.Fatal(err)
	}
	s, err := eventstore.NewOwner(e, eventstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := put(s, "s", event(1)); err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{
		"synchronous_commit": "on", "fsync": "on", "default_transaction_isolation": "read committed", "plan_cache_mode": "force_generic_plan",
		"enable_seqscan": "off", "client_encoding": "UTF8", "lock_timeout": "10s", "statement_timeout": "30s", "idle_in_transaction_session_timeout": "5s",
	} {
		for what, pool := range map[string]*pgxpool.Pool{"commits": e.writes, "reads": e.reads} {
			var got string
			if err := pool.QueryRow(context.Background(), "SELECT current_setting($1)", setting).Scan(&got); err != nil || got != want {
				t.Errorf("%s of the session that %s is %s, must be %s (%v)", setting, what, got, want, err)
			}
		}
	}
}

// TestTamperedTablesAreFound: at the first position.
func TestTamperedTablesAreFound(t *testing.T) {
	for what, c := range map[string]struct {
		sql string
		at  uint64
	}{
		"data":         {`UPDATE $S.events SET data = '{"n":7}' WHERE position = 5`, 5},
		"type":         {`UPDATE $S.events SET type = 'a.c' WHERE position = 3`, 3},
		"stream name":  {`UPDATE $S.streams SET name = 'other' WHERE stream = (SELECT stream FROM $S.events WHERE position = 4)`, 4},
		"time":         {`UPDATE $S.events SET frame = set_byte(frame, 87, 0) WHERE position = 6`, 6},
		"metadata":     {`UPDATE $S.events SET frame = set_byte(frame, 111, 88) WHERE position = 7`, 7},
		"gone":         {`DELETE FROM $S.events WHERE position = 8`, 8},
		"attachment":   {`UPDATE $S.events SET packed = set_byte(packed, 4, 255) WHERE position = 9`, 9},
		"blob":         {`UPDATE $S.blobs SET bytes = set_byte(bytes, 100, 255)`, 10},
		"blob missing": {`DELETE FROM $S.blobs`, 10},
	} {
		t.Run(what, func(t *testing.T) {
			name := schema(t)
			s := open2(t, name)
			for i := range 12 {
				ev := event(i)
				if i == 8 || i == 9 {
					ev.Attachments = []eventstore.Attachment{{Name: "v", Bytes: make([]byte, 10+70_000*(i-8))}}
				}
				if _, err := s.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{{Log: "l", Stream: fmt.Sprint("s", i),
					Meta: eventstore.Metadata{Actor: "usr_1"}, Events: []eventstore.Event{ev}}}}); err != nil {
					t.Fatal(err)
				}
			}
			execute(t, in(name, c.sql))
			rep, err := eventstore.Verify(context.Background(), s, "l")
			if err != nil || rep.Bad != c.at {
				t.Errorf("found at %d (%s), changed at %d: %v", rep.Bad, rep.Reason, c.at, err)
			}
		})
	}
}
