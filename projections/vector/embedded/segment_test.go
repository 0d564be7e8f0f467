package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"varve/domain"
	"varve/projections/vector"
	"varve/projections/vector/vectortest"
)

// sample is the bytes of a small segment that has everything a segment can have.
func sample(t testing.TB) []byte {
	t.Helper()
	f := &vectortest.Feed{}
	f.SaveCollection("log-a", "col_a")
	f.Write("log-a", "doc_a", "col_a", `{"n":1,"colour":"red","nested":{"x":[1,2]}}`, vectortest.Vector(1, 2, 3), vectortest.Text("lift", "drag", "lift"))
	f.Write("log-a", "doc_b", "col_b", `{"n":2.5,"colour":"green","long":"`+strings.Repeat("x", 200)+`"}`, vectortest.Vector(0, 0, 0))
	f.Write("log-a", "doc_a", "col_a", `{"n":"3","colour":null}`, vectortest.Text("wing"), domain.Feature{URI: "mixpeek://other@v1/vector", Dense: []float32{1}})
	f.Delete("log-a", "doc_b", "col_b")
	l := &logIndex{deleted: map[string][]deletion{}, head: newHead()}
	for i := range f.Records {
		l.fold(&f.Records[i])
	}
	var out bytes.Buffer
	if _, _, err := buildSegment(context.Background(), &out, []part{l.head.snapshot()}, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// align copies bytes to where a mapping could be.
func align(b []byte) []byte {
	room := make([]byte, len(b)+sectionAlign)
	shift := (sectionAlign - int(uintptr(unsafe.Pointer(unsafe.SliceData(room)))%sectionAlign)) % sectionAlign
	copy(room[shift:], b)
	return room[shift : shift+len(b)]
}

// refit gives a segment's bytes with another footer, or its own for nil, and with
// checksums that fit the sections.
func refit(data []byte, meta *footer) ([]byte, error) {
	trailer := data[len(data)-trailerSize:]
	end := len(data) - trailerSize - int(binary.LittleEndian.Uint32(trailer))
	if meta == nil {
		meta = &footer{}
		if err := json.Unmarshal(data[end:len(data)-trailerSize], meta); err != nil {
			return nil, err
		}
	}
	for name, s := range meta.Sections {
		if s.Offset <= uint64(end) && s.Length <= uint64(end)-s.Offset {
			s.CRC = crc32.Checksum(data[s.Offset:s.Offset+s.Length], castagnoli)
			meta.Sections[name] = s
		}
	}
	text, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	out := append(bytes.Clone(data[:end]), text...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(text)))
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(text, castagnoli))
	return append(out, segmentEnd...), nil
}

// exercise reads everything that a segment has.
func exercise(t testing.TB, s *segment) {
	t.Helper()
	x := &Index{cache: newCache(1 << 20), opts: Options{Workers: 1}}
	v := &view{index: x, position: 5, parts: []part{s}}
	ctx := context.Background()
	for row := range uint32(s.n) {
		s.find(s.id(row), 5)
		s.fields(row)
		s.collection(row)
		s.span(row)
	}
	for _, field := range []string{"n", "colour", "nested.x", "long", "missing", "document_id", "collection_id"} {
		for _, op := range domain.FilterOps {
			f, err := domain.Where(field, op, json.Number("2"))
			if err != nil {
				continue
			}
			set, err := v.Allow(ctx, nil, f)
			if err != nil {
				t.Fatal(err)
			}
			set.All("", 10)
		}
	}
	set, err := v.Allow(ctx, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	dense, sparse := s.features()
	for _, uri := range dense {
		for _, b := range s.dense(uri) {
			if _, err := v.Dense(ctx, set, uri, make([]float32, b.dims), 3); err != nil {
				t.Fatal(err)
			}
			ones := make([]float32, b.dims)
			for i := range ones {
				ones[i] = 1
			}
			if _, err := v.Dense(ctx, set, uri, ones, 3); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, uri := range sparse {
		for _, term := range s.sparse(uri).terms() {
			if _, err := v.Sparse(ctx, set, uri, []domain.TermCount{{Term: term, Count: 1}}, 3); err != nil {
				t.Fatal(err)
			}
		}
	}
	var out bytes.Buffer
	if _, _, err := buildSegment(ctx, &out, []part{s}, nil); err != nil {
		t.Fatal(err)
	}
}

func TestSegmentKeepsEverything(t *testing.T) {
	data := align(sample(t))
	s, err := readSegment(data, true)
	if err != nil {
		t.Fatal(err)
	}
	exercise(t, s)
	var again bytes.Buffer
	if _, _, err := buildSegment(context.Background(), &again, []part{s}, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Bytes(), data) {
		t.Error("a segment built of a segment is another one")
	}
}

// Every single changed byte is found where everything is verified.
func TestSegmentDamage(t *testing.T) {
	data := sample(t)
	for i := range data {
		broken := align(data)
		broken[i] ^= 0x20
		s, err := readSegment(broken, true)
		if err == nil && !padding(s, i) {
			t.Fatalf("byte %d of %d was changed and nobody noticed", i, len(data))
		}
		if err != nil && !errors.Is(err, errTorn) {
			t.Fatalf("byte %d: %v is not about damage", i, err)
		}
	}
	for n := range len(data) {
		if _, err := readSegment(align(data[:n]), false); !errors.Is(err, errTorn) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(data), err)
		}
	}
}

// padding says whether a byte lies between sections.
func padding(s *segment, i int) bool {
	for _, x := range s.meta.Sections {
		if uint64(i) >= x.Offset && uint64(i) < x.Offset+x.Length {
			return false
		}
	}
	return i >= len(segmentMagic) && i < len(s.data)-trailerSize
}

// FuzzSegment changes bytes of a segment's sections and one number of its footer,
// and makes the checksums fit again: whatever a file says, reading it fails or
// gives something, and never panics. With raw bytes it reads those.
func FuzzSegment(f *testing.F) {
	data := sample(f)
	trailer := data[len(data)-trailerSize:]
	own := data[len(data)-trailerSize-int(binary.LittleEndian.Uint32(trailer)) : len(data)-trailerSize]
	f.Add(uint16(70), []byte{1, 2, 3}, uint16(0), int64(0), []byte(nil))
	f.Add(uint16(200), []byte{255, 255, 255, 255}, uint16(3), int64(4), []byte(nil))
	f.Add(uint16(0), []byte{}, uint16(9), int64(-1), []byte(nil))
	f.Add(uint16(0), []byte{}, uint16(0), int64(0), []byte(segmentMagic+"\x02\x00\x00\x00{}"+segmentEnd))
	f.Fuzz(func(t *testing.T, at uint16, patch []byte, number uint16, value int64, raw []byte) {
		if len(raw) > 0 {
			if s, err := readSegment(align(raw), false); err == nil {
				exercise(t, s)
			}
			return
		}
		broken := bytes.Clone(data)
		if int(at) > len(broken)-trailerSize-len(own) {
			return
		}
		copy(broken[at:len(broken)-trailerSize-len(own)], patch)
		var meta footer
		if err := json.Unmarshal(changeNumber(own, int(number), value), &meta); err != nil {
			return
		}
		fitted, err := refit(broken, &meta)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := readSegment(align(fitted), true); err == nil {
			exercise(t, s)
		} else if !errors.Is(err, errTorn) {
			t.Fatal(err)
		}
	})
}

var numberInText = regexp.MustCompile(`:-?[0-9]+`)

// changeNumber puts a value in place of the n-th number of a JSON text, from 1.
func changeNumber(text []byte, n int, value int64) []byte {
	places := numberInText.FindAllIndex(text, -1)
	if n == 0 || n > len(places) {
		return text
	}
	p := places[n-1]
	return append(append(bytes.Clone(text[:p[0]+1]), strconv.FormatInt(value, 10)...), text[p[1]:]...)
}

func TestOpenAfterDamage(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, dir string){
		"a segment is missing": func(t *testing.T, dir string) { remove(t, segmentFiles(t, dir)[0]) },
		"a segment is empty":   func(t *testing.T, dir string) { truncate(t, segmentFiles(t, dir)[0], 0) },
		"the manifest is cut":  func(t *testing.T, dir string) { truncate(t, dir+"/"+manifestFile, 80) },
		"the manifest lies":    func(t *testing.T, dir string) { flip(t, dir+"/"+manifestFile, 100) },
		"a segment's ids":      func(t *testing.T, dir string) { flip(t, segmentFiles(t, dir)[0], sectionAlign) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			x := open(t, dir, Options{})
			f := feedOf(20)
			apply(t, x, f)
			if err := x.Flush(); err != nil {
				t.Fatal(err)
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			harm(t, dir)
			x = open(t, dir, Options{})
			if x.Applied(0) != 0 || x.Damage() == nil || len(segmentFiles(t, dir)) != 0 {
				t.Fatalf("applied %d, damage %v, files %v: want an empty index that says why", x.Applied(0), x.Damage(), segmentFiles(t, dir))
			}
			apply(t, x, f)
			if got := everything(t, x); got != 20 {
				t.Errorf("%d documents after the feed was read again, want 20", got)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, n int64) {
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, at int) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func feedOf(n int) *vectortest.Feed {
	f := &vectortest.Feed{}
	f.SaveCollection("log-a", "col_a")
	for i := range n {
		f.Write("log-a", "doc_"+string(rune('a'+i)), "col_a", `{"n":1}`, vectortest.Vector(1, float32(i)), vectortest.Text("word"))
	}
	return f
}

func apply(t testing.TB, x *Index, f *vectortest.Feed) {
	t.Helper()
	if err := x.Apply(context.Background(), 0, f.Records); err != nil {
		t.Fatal(err)
	}
}

func everything(t testing.TB, x *Index) int {
	t.Helper()
	v, err := x.View(context.Background(), "log-a", x.Position("log-a"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	set, err := v.Allow(context.Background(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set.Len()
}

var _ vector.View = (*view)(nil)
