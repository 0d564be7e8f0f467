package memory_test

import (
	"bytes"
	"reflect"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"varve/eventstore"
	"varve/eventstore/memory"
	"varve/eventstore/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engines remembers which engine lies under a store, for Reopen and Second.
var engines sync.Map

func over(t *testing.T, e *memory.Engine, opts eventstore.Options) eventstore.Owner {
	s, err := eventstore.NewOwner(e, opts)
	if err != nil {
		t.Fatal(err)
	}
	engines.Store(s, e)
	return s
}

func engineOf(s eventstore.Owner) *memory.Engine {
	e, _ := engines.Load(s)
	return e.(*memory.Engine)
}

func TestContract(t *testing.T) {
	open := func(t *testing.T, opts eventstore.Options) eventstore.Owner { return over(t, memory.New(2), opts) }
	storetest.Run(t, open, storetest.Features{
		Shards: 2,
		Reopen: func(t *testing.T, s eventstore.Owner, opts eventstore.Options) eventstore.Owner {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return over(t, engineOf(s), opts)
		},
		Second: func(t *testing.T, s eventstore.Owner, opts eventstore.Options) eventstore.Owner {
			return over(t, engineOf(s), opts)
		},
		Bytes: func(t *testing.T, s eventstore.Owner, needle []byte) bool {
			return holds(reflect.ValueOf(engineOf(s)).Elem(), needle, map[uintptr]bool{})
		},
	})
}

// holds looks for bytes in everything that v refers to.
func holds(v reflect.Value, needle []byte, seen map[uintptr]bool) bool {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			return false
		}
		seen[v.Pointer()] = true
		return holds(v.Elem(), needle, seen)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type() != reflect.TypeFor[sync.RWMutex]() && holds(v.Field(i), needle, seen) {
				return true
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if holds(it.Value(), needle, seen) {
				return true
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return bytes.Contains(v.Bytes(), needle)
		}
		for i := range v.Len() {
			if holds(v.Index(i), needle, seen) {
				return true
			}
		}
	}
	return false
}
