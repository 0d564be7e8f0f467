package eventstore

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMetadataRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.Just(""), rapid.String())
		m := Metadata{s.Draw(t, "1"), s.Draw(t, "2"), s.Draw(t, "3"), s.Draw(t, "4"), s.Draw(t, "5"), s.Draw(t, "6"), s.Draw(t, "7")}
		b := AppendMetadata(nil, &m)
		got, err := ParseMetadata(b)
		if err != nil || got != m {
			t.Fatalf("%+v %v, want %+v", got, err, m)
		}
	})
	if n := reflect.TypeFor[Metadata]().NumField(); n != 7 {
		t.Errorf("Metadata has %d fields, metaFields 7: a new one goes to its end", n)
	}
}

// TestChainGolden: the format of the chain never changes under its name.
func TestChainGolden(t *testing.T) {
	r := Record{ID: ID{1, 2, 3}, Log: "any", Position: 7, Shard: 3, Feed: 99, Stream: "s", Version: 2, Type: "a.b", Schema: 1,
		Data: []byte(`{"a":1}`), Meta: Metadata{Actor: "u", Origin: "http"}, Salt: [16]byte{9},
		Attachments: []Attachment{{Name: "v", Bytes: []byte{1, 2}}}, Time: fromTest(1_790_000_000_123_457)}
	r.Digest = DataDigest(r.Salt, r.Data, r.Attachments)
	r.Hash = ChainHash(Hash{5}, &r)
	const digest, hash = "9aa4fed7", "eb39a30b" // computed by another program too
	if got := r.Digest.String()[:8]; got != digest {
		t.Errorf("digest %s, must be %s", got, digest)
	}
	if got := r.Hash.String()[:8]; got != hash {
		t.Errorf("hash %s, must be %s", got, hash)
	}
	// Where it lies does not matter, everything else does.
	same := r
	same.Log, same.Shard, same.Feed, same.Data, same.Attachments, same.Erased, same.Salt = "other", 0, 1, nil, nil, true, [16]byte{}
	if ChainHash(Hash{5}, &same) != r.Hash {
		t.Error("the hash depends on where the record lies or on its bytes")
	}
	for name, spoil := range map[string]func(*Record){
		"id": func(r *Record) { r.ID[0]++ }, "position": func(r *Record) { r.Position++ }, "stream": func(r *Record) { r.Stream = "t" },
		"version": func(r *Record) { r.Version++ }, "type": func(r *Record) { r.Type = "a.c" }, "schema": func(r *Record) { r.Schema++ },
		"meta": func(r *Record) { r.Meta.Reason = "x" }, "time": func(r *Record) { r.Time = r.Time.Add(1000) }, "digest": func(r *Record) { r.Digest[0]++ },
	} {
		other := r
		spoil(&other)
		if ChainHash(Hash{5}, &other) == r.Hash {
			t.Errorf("the hash does not depend on the %s", name)
		}
	}
	for name, d := range map[string]Hash{
		"salt":       DataDigest([16]byte{8}, r.Data, r.Attachments),
		"data":       DataDigest(r.Salt, []byte(`{"a":2}`), r.Attachments),
		"name":       DataDigest(r.Salt, r.Data, []Attachment{{Name: "w", Bytes: []byte{1, 2}}}),
		"bytes":      DataDigest(r.Salt, r.Data, []Attachment{{Name: "v", Bytes: []byte{1, 3}}}),
		"attachment": DataDigest(r.Salt, r.Data, nil),
	} {
		if d == r.Digest {
			t.Errorf("the digest does not depend on the %s", name)
		}
	}
}

func FuzzParseMetadata(f *testing.F) {
	f.Add(AppendMetadata(nil, &Metadata{Actor: "a", Reason: "ü"}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMetadata(b)
		if err != nil {
			return
		}
		again, err := ParseMetadata(AppendMetadata(nil, &m))
		if err != nil || again != m {
			t.Fatalf("%+v %+v %v", m, again, err)
		}
	})
}

func FuzzAttachments(f *testing.F) {
	f.Add(packInline([]Attachment{{"v", []byte{1, 2, 3}}, {"w", nil}}))
	f.Add((&packed{where: inEngine, ref: "abc", index: 1, count: 2, parts: []part{{"v", Hash{1}, 16, 3}}}).encode())
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		if b[0] == inRow {
			if as, err := unpackInline(b); err == nil && len(as) > 0 && packInline(as) == nil {
				t.Fatal("lost")
			}
			return
		}
		p, err := parsePacked(b)
		if err != nil {
			return
		}
		q, err := parsePacked(p.encode())
		if err != nil || !bytes.Equal(q.encode(), p.encode()) {
			t.Fatal(err)
		}
	})
}

func fromTest(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
