// Package vectortest is the contract of search backends: a suite that each must
// pass, held to an oracle that knows nothing of indexes and goes through all
// versions of all documents.
package vectortest

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"varve/domain"
	"varve/eventstore"
)

// Feed makes records by hand, as a store would have committed them: of several
// logs of one shard.
type Feed struct {
	Records  []eventstore.Record
	position map[eventstore.LogID]uint64
	version  map[string]uint64
	prefix   map[eventstore.LogID][]eventstore.Record
}

// Dense and Sparse are the feature URIs of the suite's documents.
const (
	Dense  = "mixpeek://text_extractor@v1/embedding"
	Sparse = "mixpeek://text_extractor@v1/terms"
)

// Append adds a record with the next positions and gives it. The event may be nil:
// an erased record of the type.
func (f *Feed) Append(log eventstore.LogID, stream, eventType string, e domain.EventData, features ...domain.Feature) eventstore.Record {
	f.init()
	f.position[log]++
	f.version[string(log)+"\x00"+stream]++
	r := eventstore.Record{
		Log: log, Position: f.position[log], Feed: uint64(len(f.Records) + 1), Stream: stream,
		Version: f.version[string(log)+"\x00"+stream], Type: eventType, Schema: 1,
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(len(f.Records)) * time.Microsecond),
	}
	if e == nil {
		r.Erased = true
	} else {
		data, err := domain.EncodeEvent(e)
		if err != nil {
			panic(err) // events of this package can be encoded
		}
		r.Data = data
	}
	for _, x := range features {
		r.Attachments = append(r.Attachments, eventstore.Attachment{Name: x.URI, Bytes: x.Encode()})
	}
	f.Records = append(f.Records, r)
	return r
}

func (f *Feed) init() {
	if f.position == nil {
		f.position, f.version, f.prefix = map[eventstore.LogID]uint64{}, map[string]uint64{}, map[eventstore.LogID][]eventstore.Record{}
	}
}

// Fork makes a log that continues another one, up to a position, by one record: the
// feed does not repeat those of its prefix.
func (f *Feed) Fork(branch, of eventstore.LogID, upTo uint64) eventstore.Record {
	f.init()
	prefix := f.Log(of)[:upTo]
	for i := range prefix {
		r := &prefix[i]
		r.Log = branch
		f.version[string(branch)+"\x00"+r.Stream] = r.Version
	}
	f.prefix[branch], f.position[branch] = prefix, upTo
	return f.Append(branch, "namespace", "namespace.cloned", nil)
}

// Log gives the records of a log as a store reads them: its prefix, and its own.
func (f *Feed) Log(log eventstore.LogID) []eventstore.Record {
	all := slices.Clone(f.prefix[log])
	for _, r := range f.Records {
		if r.Log == log {
			all = append(all, r)
		}
	}
	return all
}

// Position is the newest position of a log.
func (f *Feed) Position(log eventstore.LogID) uint64 { return f.position[log] }

// ConfigVersion is the version of a log's configuration.
func (f *Feed) ConfigVersion(log eventstore.LogID) uint64 {
	return f.version[string(log)+"\x00"+domain.ConfigStream]
}

// Write writes a document whose payload is given as a JSON object.
func (f *Feed) Write(log eventstore.LogID, id, collection, payload string, features ...domain.Feature) eventstore.Record {
	d := domain.Document{DocumentID: id, CollectionID: collection, ConfigVersion: f.ConfigVersion(log)}
	if err := json.Unmarshal([]byte(payload), &d.Payload); err != nil {
		panic(fmt.Sprintf("payload %s: %v", payload, err))
	}
	return f.WriteDocument(log, d, features...)
}

// WriteDocument writes a document as it is.
func (f *Feed) WriteDocument(log eventstore.LogID, d domain.Document, features ...domain.Feature) eventstore.Record {
	for _, x := range features {
		kind := "sparse"
		if x.Dense != nil {
			kind = "dense"
		}
		d.Features = append(d.Features, domain.FeatureRef{URI: x.URI, Kind: kind, Dims: len(x.Dense)})
	}
	return f.Append(log, domain.DocumentStream(d.DocumentID), "document.written", &domain.DocumentWritten{Document: d}, features...)
}

// Delete deletes a document.
func (f *Feed) Delete(log eventstore.LogID, id, collection string) eventstore.Record {
	return f.Append(log, domain.DocumentStream(id), "document.deleted", &domain.DocumentDeleted{DocumentID: id, CollectionID: collection})
}

// SaveCollection creates or changes a collection.
func (f *Feed) SaveCollection(log eventstore.LogID, id string) eventstore.Record {
	return f.Append(log, domain.ConfigStream, "collection.saved", &domain.CollectionSaved{Collection: domain.Collection{CollectionID: id, Name: id}})
}

// DeleteCollection deletes a collection.
func (f *Feed) DeleteCollection(log eventstore.LogID, id string) eventstore.Record {
	return f.Append(log, domain.ConfigStream, "collection.deleted", &domain.CollectionDeleted{CollectionID: id})
}

// Vector is a dense feature under the suite's URI.
func Vector(components ...float32) domain.Feature {
	return domain.Feature{URI: Dense, Dense: components}
}

// Text is a sparse feature under the suite's URI: the counts of the words.
func Text(words ...string) domain.Feature {
	counts := map[string]uint32{}
	for _, w := range words {
		counts[w]++
	}
	return domain.Feature{URI: Sparse, Terms: domain.SortTerms(counts), Length: uint32(len(words))}
}
