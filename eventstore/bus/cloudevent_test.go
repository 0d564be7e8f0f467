package bus

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"pgregory.net/rapid"

	"varve/eventstore"
)

func anyRecord(t *rapid.T) eventstore.Record {
	text := rapid.StringN(1, 20, -1)
	data, _ := json.Marshal(rapid.String().Draw(t, "data"))
	r := eventstore.Record{
		Log: eventstore.LogID(text.Draw(t, "log")), Stream: text.Draw(t, "stream"), Type: text.Draw(t, "type"),
		Position: rapid.Uint64Range(1, 1<<62).Draw(t, "position"), Feed: rapid.Uint64Range(1, 1<<62).Draw(t, "feed"),
		Version: rapid.Uint64Range(1, 1<<62).Draw(t, "version"), Schema: rapid.IntRange(1, 99).Draw(t, "schema"), Shard: rapid.IntRange(0, 9).Draw(t, "shard"),
		Data: data, Time: time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "time")).UTC(),
		Meta: eventstore.Metadata{Actor: rapid.String().Draw(t, "actor"), Key: rapid.String().Draw(t, "key"), TraceParent: rapid.String().Draw(t, "trace"), Reason: rapid.String().Draw(t, "reason")},
	}
	copy(r.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	copy(r.Salt[:], rapid.SliceOfN(rapid.ByteRange(128, 255), 16, 16).Draw(t, "salt"))
	copy(r.Hash[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
	r.Erased = rapid.Bool().Draw(t, "erased")
	switch {
	case r.Erased:
		r.Data, r.Salt = nil, [16]byte{}
	case rapid.Bool().Draw(t, "attached"):
		r.Attachments = []eventstore.Attachment{{Name: text.Draw(t, "name"), Bytes: rapid.SliceOfN(rapid.ByteRange(128, 255), 16, 64).Draw(t, "bytes")}}
	}
	return r
}

func pointers(headers []sarama.RecordHeader) []*sarama.RecordHeader {
	out := make([]*sarama.RecordHeader, len(headers))
	for i := range headers {
		out[i] = &headers[i]
	}
	return out
}

func TestMessageHoldsTheRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRecord(t)
		headers, value := encode(&r, "varve", defaultMaxBytes)
		d, err := decode(pointers(headers), value, r.Shard, "varve")
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprintf("%+v", d.Record), fmt.Sprintf("%+v", strip(r)); got != want {
			t.Fatalf("decoded\n have %s\n want %s", got, want)
		}
		if d.partial != (len(r.Attachments) > 0) {
			t.Fatalf("partial %v with %d attachments", d.partial, len(r.Attachments))
		}
		all := bytes.Clone(value)
		for _, h := range headers {
			all = append(all, h.Value...)
		}
		if !r.Erased && bytes.Contains(all, r.Salt[:]) {
			t.Fatal("the salt is in the message")
		}
		for _, a := range r.Attachments {
			if bytes.Contains(all, a.Bytes) {
				t.Fatal("an attachment's bytes are in the message")
			}
			if sum := fmt.Sprintf("%x", sha256.Sum256(a.Bytes)); !bytes.Contains(all, []byte(sum)) {
				t.Fatal("an attachment's digest is not in the message")
			}
		}
	})
}

func TestDataThatDoNotFitAreLeftOut(t *testing.T) {
	r := eventstore.Record{Log: "a", Stream: "s", Type: "t.u", Position: 1, Feed: 1, Version: 1, Schema: 1, Data: append(append([]byte{'"'}, bytes.Repeat([]byte("x"), 5000)...), '"')}
	headers, value := encode(&r, "varve", 4000)
	if d, err := decode(pointers(headers), value, 0, "varve"); err != nil || !d.partial || d.Data != nil || len(value) > 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	r := eventstore.Record{Log: "a", Stream: "s", Type: "t.u", Position: 1, Feed: 1, Version: 1, Schema: 1, Data: []byte("{}")}
	good, value := encode(&r, "varve", defaultMaxBytes)
	if _, err := decode(pointers(good), value, 0, "varve"); err != nil {
		t.Fatal(err)
	}
	change := func(name, to string) []*sarama.RecordHeader {
		out := pointers(append([]sarama.RecordHeader(nil), good...))
		for _, h := range out {
			if string(h.Key) == name {
				h.Value = []byte(to)
			}
		}
		return out
	}
	for name, to := range map[string]string{headerVersion: "0.3", headerID: "x", headerSource: "other", headerTime: "now", headerPosition: "-1", headerFeed: "0",
		headerShard: "1", headerStream: "", headerSchema: "0", headerHash: "00", headerDigest: "", headerLog: "", headerType: "", headerContent: "text/plain"} {
		if _, err := decode(change(name, to), value, 0, "varve"); err == nil {
			t.Errorf("%s = %q was accepted", name, to)
		}
	}
	if _, err := decode(pointers(good), []byte("{"), 0, "varve"); err == nil {
		t.Error("half of JSON was accepted")
	}
	if _, err := decode(append(pointers(good), &sarama.RecordHeader{Key: []byte(headerID)}), value, 0, "varve"); err == nil {
		t.Error("a header twice was accepted")
	}
	if _, err := decode(nil, nil, 0, "varve"); err == nil {
		t.Error("nothing was accepted")
	}
}

func FuzzDecode(f *testing.F) {
	r := eventstore.Record{Log: "a", Stream: "s", Type: "t.u", Position: 1, Feed: 1, Version: 1, Schema: 1, Data: []byte("{}")}
	headers, value := encode(&r, "varve", defaultMaxBytes)
	for i := range headers {
		f.Add(i, string(headers[i].Key), headers[i].Value, value)
	}
	f.Fuzz(func(t *testing.T, i int, name string, content, value []byte) {
		h := append([]sarama.RecordHeader(nil), headers...)
		h[uint(i)%uint(len(h))] = sarama.RecordHeader{Key: []byte(name), Value: content}
		d, err := decode(pointers(h), value, 0, "varve")
		if err != nil || d.partial || d.Erased {
			return
		}
		again, value := encode(&d.Record, "varve", 1<<30)
		if e, err := decode(pointers(again), value, 0, "varve"); err != nil || fmt.Sprintf("%+v", e.Record) != fmt.Sprintf("%+v", d.Record) {
			t.Errorf("%+v\n is then %+v, %v", d, e, err)
		}
	})
}
