package asyncapi

const (
	aboutText = "Every committed record of Varve's log is published to Kafka, one message a record: CloudEvents 1.0 in binary mode " +
		"(attributes in headers that begin with ce_, the event's data in the value). " +
		"Partition = shard: all records of an organization and its namespaces stand in one partition. " +
		"Within a partition records are in the order of the feed (ce_feedposition: 1, 2, 3, …); a message may come again, and is then the same. " +
		"The store is the history and Kafka its carrier: what a topic no longer holds is read from the API. " +
		"An erased record, and one whose data did not fit, has an empty value (ce_erased, ce_dataomitted). " +
		"Consumers ignore members and event types that they do not know."
	eventsText     = "Everything that changed organizations, configuration and data."
	executionsText = "Records of executed retrievals. They are facts about reads and have shards and numbers of their own."
	keyText        = "The log: of an organization, or of one namespace. The same as ce_log."
)

// headers describes a message's headers as the bus writes them
// (eventstore/bus/cloudevent.go). All values are text.
func headers(source string) map[string]any {
	text := func(about string, more ...string) map[string]any {
		s := map[string]any{"type": "string", "description": about}
		for i := 0; i+1 < len(more); i += 2 {
			s[more[i]] = more[i+1]
		}
		return s
	}
	number := func(about string) map[string]any { return text(about, "pattern", "^[0-9]+$") }
	hash := func(about string) map[string]any { return text(about, "pattern", "^[0-9a-f]{64}$") }
	return map[string]any{
		"type":        "object",
		"description": "CloudEvents 1.0 attributes, and Varve's extensions. Those that are not required are there only where they have a value.",
		"required": []string{"ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "ce_log", "ce_position", "ce_shard",
			"ce_feedposition", "ce_streamversion", "ce_schemaversion", "ce_hash", "ce_digest"},
		"properties": map[string]any{
			"ce_specversion":   map[string]any{"const": "1.0"},
			"ce_id":            text("The record's id, unique and ordered by time."),
			"ce_type":          text("The event type: noun.past_participle. Its meaning never changes; a new meaning gets a new name."),
			"ce_source":        map[string]any{"const": source, "description": "Which Varve published it."},
			"ce_subject":       text("The stream: what the event is about, such as config, bucket objects as object-obj_…, documents as document-doc_…"),
			"ce_time":          text("When it was recorded: RFC 3339, UTC, microseconds. Never goes back within a log.", "format", "date-time"),
			"ce_log":           text("The log: internal id of an organization's or a namespace's log. namespace.created tells which log is which namespace's."),
			"ce_position":      number("Place in the log: 1, 2, 3, … without gaps. The same number as in the API (as_of, Varve-Position)."),
			"ce_shard":         number("The shard, which is the partition."),
			"ce_feedposition":  number("Place in the shard's feed: 1, 2, 3, … without gaps. The number to notice gaps and repeats by."),
			"ce_streamversion": number("Place in the stream: 1, 2, 3, …"),
			"ce_schemaversion": number("Version of the data's shape; 1 today."),
			"ce_hash":          hash("Hash chain of the log up to this record."),
			"ce_digest":        hash("Salted digest of data and attachments, which the hash covers in their place."),
			"ce_actor":         text("Who did it: a user id, or system:…"),
			"ce_apikey":        text("Id of the API key that was used."),
			"ce_correlation":   text("Id of the request."),
			"ce_causation":     text("Id of the record that caused this one."),
			"ce_traceparent":   text("W3C trace context of the request."),
			"traceparent":      text("The same, by the name that tracers of Kafka clients look for."),
			"ce_origin":        text("Where the command came from: http, cli, batch, kafka, …"),
			"ce_reason":        text("Why, in the words of the one who did it. Percent-encoding is not used: UTF-8."),
			"ce_attachments":   text("What the record carries beside its data, as JSON: [{\"name\": …, \"sha256\": …, \"bytes\": …}]. The bytes stay in the store."),
			"ce_erased":        map[string]any{"const": "true", "description": "Data and attachments were erased; the value is empty."},
			"ce_dataomitted":   number("Bytes of data that did not fit into a message; the value is empty, the API has it."),
			"content-type":     map[string]any{"const": "application/json"},
		},
	}
}
