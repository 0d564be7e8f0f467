package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write golden payloads of event types that have none; existing ones are never rewritten")

// Every event type has one golden payload, written once: what is in somebody's
// log today must be read the same by every later version.
func TestGoldenEvents(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range EventTypes() {
		seen[name+".json"] = true
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "events", name+".json")
			golden, err := os.ReadFile(path)
			if errors.Is(err, os.ErrNotExist) && *update {
				golden = sample(t, name)
				err = os.WriteFile(path, golden, 0o644)
			}
			if err != nil {
				t.Fatalf("%v: write it once with go test ./domain -run TestGoldenEvents -update", err)
			}
			e, err := DecodeEvent(name, 1, golden)
			if err != nil {
				t.Fatal(err)
			}
			again, err := EncodeEvent(e)
			if err != nil {
				t.Fatal(err)
			}
			if want := bytes.TrimSpace(golden); !bytes.Equal(again, want) {
				t.Errorf("the payload is read differently than it was written: its log cannot be changed, so give the new meaning a new name or a .v2\n got %s\nwant %s", again, want)
			}
		})
	}
	files, err := filepath.Glob("testdata/events/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[filepath.Base(f)] {
			t.Errorf("%s: the event type is gone, but logs hold it: keep it decodable", f)
		}
	}
}

// sample fills every member of an event type, so that its golden payload shows them all.
func sample(t *testing.T, name string) []byte {
	e := eventTypes[name]()
	fillSample(reflect.ValueOf(e).Elem(), 1)
	b, err := EncodeEvent(e)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func fillSample(v reflect.Value, n int) {
	switch v.Interface().(type) {
	case json.RawMessage:
		v.SetBytes([]byte(`{"kept":"as written","n":12345678901234567890.10}`))
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 11, 24, 12, 0, 0, 123456000, time.UTC)))
		return
	case Stamp:
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text & <more>")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(n + 1))
	case reflect.Uint64:
		v.SetUint(uint64(n + 2))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillSample(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillSample(v.Index(0), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		fillSample(value, n)
		v.SetMapIndex(reflect.ValueOf("key"), value)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
				fillSample(v.Field(i), n+i)
			}
		}
	}
}

func TestEventNames(t *testing.T) {
	for _, name := range EventTypes() {
		noun, verb, ok := strings.Cut(name, ".")
		if !ok || noun == "" || verb == "" || strings.ToLower(name) != name {
			t.Errorf("%q is not noun.past_participle", name)
		}
	}
}

func TestDecodeEventRefusals(t *testing.T) {
	if _, err := DecodeEvent("bucket.painted", 1, []byte(`{}`)); !errors.Is(err, ErrUnknownEvent) {
		t.Errorf("unknown type: %v", err)
	}
	if _, err := DecodeEvent("bucket.saved", 2, []byte(`{}`)); !errors.Is(err, ErrUnknownEvent) {
		t.Errorf("schema of the future: %v", err)
	}
	if _, err := DecodeEvent("bucket.saved", 1, []byte(`{"bucket_name": 7}`)); err == nil {
		t.Error("a number was taken for a name")
	}
}

// Folds accept every event type, in any order, erased or not, without a panic,
// and never change the state that they were given.
func FuzzDecodeEvent(f *testing.F) {
	for _, name := range EventTypes() {
		golden, err := os.ReadFile(filepath.Join("testdata", "events", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, golden)
		f.Add(name, []byte(nil))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		e, err := DecodeEvent(name, 1, data)
		if err != nil {
			return
		}
		at := Stamp{Position: 7, Version: 3, Time: time.Unix(1, 0)}
		Config{}.Apply(e, at)
		Organization{}.Apply(e, at)
		ObjectState{}.Apply(e, at)
		BatchState{}.Apply(e, at)
		DocumentState{}.Apply(e, at)
		again, err := EncodeEvent(e)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		if _, err := DecodeEvent(name, 1, again); err != nil {
			t.Fatalf("what was encoded cannot be decoded: %v", err)
		}
	})
}
