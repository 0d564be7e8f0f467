package domain

import (
	"encoding/json"
	"slices"
	"strings"
)

// TopicMapping says what of a message becomes what of an object. An empty one takes
// each member of the message's JSON as a field. A path is one into the message's
// JSON ("user.name", "items[0]", "$" for all of it), or of the message itself: "@key", "@timestamp",
// "@partition", "@offset", "@headers.NAME".
type TopicMapping struct {
	Fields   map[string]string `json:"fields,omitempty"`   // field → path
	Metadata map[string]string `json:"metadata,omitempty"` // member of the metadata → path
	Blobs    []TopicBlob       `json:"blobs,omitempty"`
	Key      string            `json:"key,omitempty"` // path of what the object's key_prefix is
}

// TopicBlob is a blob of each object.
type TopicBlob struct {
	Property string `json:"property"`
	Type     string `json:"type"` // text, json, image, … as blobs of objects have it
	Path     string `json:"path"` // its value is the blob's data: text, base64, a URL, JSON
}

// MappedObject is what a mapping makes of a message. Blobs are as clients write
// them: their bytes are not taken in yet.
type MappedObject struct {
	KeyPrefix string
	Fields    map[string]json.RawMessage
	Metadata  json.RawMessage
	Blobs     []MappedBlob
}

// MappedBlob is a blob whose data are JSON.
type MappedBlob struct {
	Property string
	Type     string
	Data     json.RawMessage
}

// Object makes an object of a message. Own gives what is not in its value: key,
// timestamp, partition, offset, headers.NAME; nil where the message has none. What a path does
// not find is left out, so that the bucket's schema decides whether it may be missing; a
// message in whose value no path finds anything is refused, as is a value that is no JSON.
func (m TopicMapping) Object(value []byte, own func(name string) json.RawMessage) (MappedObject, error) {
	o := MappedObject{Fields: map[string]json.RawMessage{}}
	payload, err := DecodeValue(value)
	if err != nil {
		return o, Errorf(CodeBadRequest, "the message is not JSON that can be read: %w", err)
	}
	if len(m.Fields)+len(m.Metadata)+len(m.Blobs) == 0 {
		members, ok := payload.(map[string]any)
		if !ok {
			return o, Errorf(CodeBadRequest, "the message is %s; without a mapping it must be an object, whose members are the fields", valueKind(payload))
		}
		for name, v := range members {
			o.Fields[name] = EncodeValue(v)
		}
	}
	asked, found := 0, len(o.Fields)
	at := func(path string) json.RawMessage {
		v := valueAt(path, payload, own)
		if !strings.HasPrefix(path, "@") { // a message always has a partition: that says nothing of it
			asked++
			if v != nil {
				found++
			}
		}
		return v
	}
	for name, path := range m.Fields {
		if v := at(path); v != nil {
			o.Fields[name] = v
		}
	}
	metadata := map[string]any{}
	for name, path := range m.Metadata {
		if v := at(path); v != nil {
			if metadata[name], err = DecodeValue(v); err != nil {
				return o, err
			}
		}
	}
	if len(metadata) > 0 {
		o.Metadata = EncodeValue(metadata)
	}
	for _, b := range m.Blobs {
		if v := at(b.Path); v != nil && string(v) != "null" {
			o.Blobs = append(o.Blobs, MappedBlob{b.Property, b.Type, v})
		}
	}
	if m.Key != "" {
		if v := at(m.Key); v != nil && json.Unmarshal(v, &o.KeyPrefix) != nil {
			o.KeyPrefix = string(v)
		}
	}
	if found == 0 && (asked > 0 || len(o.Fields)+len(metadata)+len(o.Blobs) == 0) {
		return o, Invalid("mapping", "reference", "none of the mapping's paths finds anything in the message (%s)", m.paths())
	}
	return o, nil
}

// valueAt gives the value at a path, nil where there is none.
func valueAt(path string, payload any, own func(string) json.RawMessage) json.RawMessage {
	if name, ofMessage := strings.CutPrefix(path, "@"); ofMessage {
		return own(name)
	}
	if path == "$" {
		return EncodeValue(payload)
	}
	doc, isObject := payload.(map[string]any)
	if !isObject {
		return nil
	}
	v, ok := Lookup(doc, strings.TrimPrefix(path, "$."))
	if !ok {
		return nil
	}
	return EncodeValue(v)
}

// paths names a few paths, for errors.
func (m TopicMapping) paths() string {
	var all []string
	for _, path := range m.Fields {
		all = append(all, path)
	}
	for _, path := range m.Metadata {
		all = append(all, path)
	}
	for _, b := range m.Blobs {
		all = append(all, b.Path)
	}
	slices.Sort(all)
	if len(all) > 5 {
		all = append(all[:5], "…")
	}
	return strings.Join(all, ", ")
}

const maxMapped = 200 // paths of a mapping

func (m TopicMapping) check() error {
	if n := len(m.Fields) + len(m.Metadata) + len(m.Blobs); n > maxMapped {
		return Invalid("mapping", "length", "%d paths; at most %d are read", n, maxMapped)
	}
	for where, paths := range map[string]map[string]string{"mapping.fields": m.Fields, "mapping.metadata": m.Metadata} {
		for name, path := range paths {
			if name == "" {
				return Invalid(where, "length", "a name is empty")
			}
			if err := checkTopicPath(where+"."+name, path); err != nil {
				return err
			}
		}
	}
	for i, b := range m.Blobs {
		at := indexed("mapping.blobs", i)
		if err := CheckName(at+".property", b.Property, 1, 100); err != nil {
			return err
		}
		if !slices.Contains(BucketFieldTypes, FieldType(b.Type)) {
			return Invalid(at+".type", "enum", "%q is not a type; allowed are %v", b.Type, BucketFieldTypes)
		}
		if err := checkTopicPath(at+".path", b.Path); err != nil {
			return err
		}
	}
	if m.Key != "" {
		return checkTopicPath("mapping.key", m.Key)
	}
	return nil
}

func checkTopicPath(where, path string) error {
	if name, ofMessage := strings.CutPrefix(path, "@"); ofMessage {
		if header, ok := strings.CutPrefix(name, "headers."); ok && header != "" || slices.Contains([]string{"key", "timestamp", "partition", "offset"}, name) {
			return nil
		}
		return Invalid(where, "path", "%q is none of @key, @timestamp, @partition, @offset, @headers.NAME", path)
	}
	if path == "$" {
		return nil
	}
	if _, err := parsePath(strings.TrimPrefix(path, "$.")); err != nil {
		return Invalid(where, "path", "%v", err)
	}
	return nil
}
