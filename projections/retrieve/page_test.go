package retrieve

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"varve/domain"
)

// pages turns every page of a query with one method.
func pages(t *testing.T, w *world, r domain.Retriever, method string, size int, between func()) []string {
	t.Helper()
	var all []string
	p := map[string]any{"method": method, "limit": size}
	if method == "offset" {
		p = map[string]any{"method": method, "page_size": size, "page_number": 1}
	}
	for n := 1; ; n++ {
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		req := w.request(r, `{"query":"flow"}`)
		req.Pagination = raw
		x, err := w.engine.Execute(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range x.Documents {
			all = append(all, d["document_id"].(string))
			if rank := d["_provenance"].(Provenance).Rank; rank != (n-1)*size+i+1 {
				t.Errorf("page %d: rank %d", n, rank)
			}
		}
		again(t, w, w.records[len(w.records)-1])
		a := x.Pagination
		if a["returned"] != len(x.Documents) || a["method"] != method {
			t.Errorf("%v", a)
		}
		if a["has_next"] != true {
			return all
		}
		if n > 50 {
			t.Fatal("the pages have no end")
		}
		switch method {
		case "offset":
			p["page_number"] = n + 1
		case "cursor":
			p["cursor"] = a["cursor"]
		case "scroll":
			p["scroll_id"] = a["scroll_id"]
		case "keyset":
			p["after"] = a["after"]
		}
		if between != nil {
			between()
		}
	}
}

func TestPages(t *testing.T) {
	r := retriever(t, nil, searchWords)
	for _, method := range []string{"offset", "cursor", "keyset", "scroll"} {
		for _, size := range []int{1, 2, 3, 10} {
			w := library(t)
			if diff := cmp.Diff([]string{"d1", "d2", "d5"}, pages(t, w, r, method, size, nil)); diff != "" {
				t.Errorf("%s by %d: %s", method, size, diff)
			}
		}
	}
}

// Cursors pin the position: what is written meanwhile changes no page.
func TestCursorsPinThePosition(t *testing.T) {
	r := retriever(t, nil, searchWords)
	for _, method := range []string{"cursor", "keyset", "scroll"} {
		w := library(t)
		n := 0
		got := pages(t, w, r, method, 1, func() {
			n++
			w.put(fmt.Sprintf("a%d", n), "col_a", `{"text":"flow flow flow"}`)
			w.remove("d1", "col_a")
		})
		if diff := cmp.Diff([]string{"d1", "d2", "d5"}, got); diff != "" {
			t.Errorf("%s: %s", method, diff)
		}
	}
}

func TestCursorsBelongToOneQuery(t *testing.T) {
	w := library(t)
	r := retriever(t, nil, searchWords)
	req := w.request(r, `{"query":"flow"}`)
	req.Pagination = json.RawMessage(`{"method":"cursor","limit":1}`)
	x, err := w.engine.Execute(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	next := fmt.Sprintf(`{"method":"cursor","limit":1,"cursor":%q}`, x.Pagination["cursor"])
	for name, change := range map[string]func(*Request){
		"inputs":    func(q *Request) { q.Inputs = json.RawMessage(`{"query":"flows"}`) },
		"filters":   func(q *Request) { q.Filters = json.RawMessage(`{"a":1}`) },
		"retriever": func(q *Request) { q.Retriever = retriever(t, []string{"papers"}, searchWords) },
		"position":  func(q *Request) { q.At.Position = 2 },
	} {
		other := w.request(r, `{"query":"flow"}`)
		other.Pagination = json.RawMessage(next)
		change(&other)
		if _, err := w.engine.Execute(context.Background(), other); domain.CodeOf(err) != domain.CodeInvalid || !strings.Contains(err.Error(), "cursor") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPageBodies(t *testing.T) {
	tests := []struct {
		raw   string
		limit int
		want  page
	}{
		{"", 0, page{size: 500}},
		{"null", 7, page{method: "limit", size: 7}},
		{`{}`, 0, page{method: "offset", size: 10, number: 1}},
		{`{"page_size":5,"page_number":3}`, 9, page{method: "offset", size: 5, number: 3}},
		{`{"limit":5,"offset":10}`, 0, page{method: "offset", size: 5, number: 3}},
		{`{"method":"scroll"}`, 0, page{method: "scroll", size: 100}},
		{`{"method":"keyset","after":{"document_id":"x"}}`, 0, page{method: "keyset", size: 10, after: "x"}},
		{`{"method":"cursor","cursor":null}`, 0, page{method: "cursor", size: 10}},
	}
	for _, tt := range tests {
		got, err := parsePage(json.RawMessage(tt.raw), tt.limit)
		if err != nil {
			t.Errorf("%s: %v", tt.raw, err)
			continue
		}
		if diff := cmp.Diff(tt.want, *got, cmp.AllowUnexported(page{})); diff != "" {
			t.Errorf("%s: %s", tt.raw, diff)
		}
		back, err := decodePage(got.encode())
		if err != nil {
			t.Fatalf("%s: %v", got.encode(), err)
		}
		if got.method == "" {
			got.method = "limit"
		}
		if diff := cmp.Diff(got, back, cmp.AllowUnexported(page{})); diff != "" {
			t.Errorf("%s after a record: %s", tt.raw, diff)
		}
	}
}

func TestCursorText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := cursor{rapid.Uint64Range(0, 1<<40).Draw(t, "position"), rapid.Uint64Range(0, 1<<20).Draw(t, "offset"), "0123456789abcdef"}
		text := c.encode()
		if back, ok := decodeCursor(text); !ok || back != c {
			t.Fatalf("%v became %v", c, back)
		}
		i := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		other := rapid.SampledFrom([]byte("ABCxyz019-_")).Draw(t, "byte")
		damaged := text[:i] + string(other) + text[i+1:]
		if back, ok := decodeCursor(damaged); ok && damaged != text {
			t.Fatalf("%s of %v was read as %v", damaged, c, back)
		}
	})
}

func TestPageCutsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := make([]*item, rapid.IntRange(0, 20).Draw(t, "items"))
		for i := range items {
			items[i] = &item{id: fmt.Sprint("d", i)}
		}
		size := rapid.IntRange(1, 7).Draw(t, "size")
		var got []*item
		for n := 1; n <= len(items)/size+1; n++ {
			_, part, err := (&page{method: "offset", size: size, number: n}).cut(items)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, part...)
		}
		if !slices.Equal(got, items) {
			t.Fatal("pages do not make up the result")
		}
	})
}

func FuzzDecodeCursor(f *testing.F) {
	f.Add(cursor{7, 3, "0123456789abcdef"}.encode())
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if c, ok := decodeCursor(s); ok && c.encode() != s {
			t.Fatalf("%q was read as %v", s, c)
		}
	})
}
