package embedded

import (
	"testing"

	"varve/projections/vector/vectortest"
)

func TestContract(t *testing.T) {
	vectortest.Run(t, func(t testing.TB) *vectortest.Backend {
		x, err := Open(t.TempDir(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { x.Close() })
		return &vectortest.Backend{Index: x, Apply: x.Apply}
	})
}
