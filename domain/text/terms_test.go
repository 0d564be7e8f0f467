package text

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"varve/domain"
)

func TestTokens(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{" \n.,!'", nil},
		{"The quick-brown foxes", []string{"the", "quick", "brown", "fox"}},
		{"Crème brûlée, naïve", []string{"creme", "brule", "naiv"}},
		{"don't, the dog's rock'n'roll 'quoted'", []string{"dont", "the", "dog", "rocknrol", "quot"}},
		{"the dog’s", []string{"the", "dog"}},
		{"3.14 1,000,000 v1.26.8 end.5", []string{"3.14", "1,000,000", "v1.26.8", "end", "5"}},
		{"foo_bar.baz a/b", []string{"foo", "bar", "baz", "a", "b"}},
		{"ﬁle № ½ Ⅳ", []string{"file", "no", "1", "2", "iv"}},
		{"soft\u00adhyphen zero\u200bwidth", []string{"softhyphen", "zerowidth"}},
		{"Größe ΟΔΟΣ Ёлка", []string{"große", "οδοσ", "елка"}},
		{"東京都", []string{"東", "東京", "京", "京都", "都"}},
		{"iPhone用ケース", []string{"iphon", "用", "用ケ", "ケ", "ケー", "ー", "ース", "ス"}},
		{"한국어 문서", []string{"한국어", "문서"}},
		{"हिन्दी भाषा", []string{"हिन्दी", "भाषा"}},
		{"שָׁלוֹם مَرْحَبًا", []string{"שלום", "مرحبا"}},
		{"がか", []string{"が", "がか", "か"}},
		{"ไทย", []string{"ไ", "ไท", "ท", "ทย", "ย"}},
		{"a\xffb", []string{"a", "b"}},
		{"👍 ok", []string{"ok"}},
		{strings.Repeat("x", 129) + " y", []string{"", "y"}},
	} {
		var got []string
		Tokens(c.in, func(term string) { got = append(got, term) })
		if !slices.Equal(got, c.want) {
			t.Errorf("Tokens(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestTermsCountAndLength(t *testing.T) {
	terms, length := Terms("Wings and winged wing; " + strings.Repeat("z", 500))
	want := []domain.TermCount{{Term: "and", Count: 1}, {Term: "wing", Count: 3}}
	if !slices.Equal(terms, want) || length != 5 {
		t.Errorf("%v of %d, want %v of 5", terms, length, want)
	}
}

func TestQueryTermsLeaveStopWordsOutUnlessNothingElseIsThere(t *testing.T) {
	for in, want := range map[string][]domain.TermCount{
		"what is the wing of a wing": {{Term: "wing", Count: 2}},
		"to be or not to be":         {{Term: "be", Count: 2}, {Term: "not", Count: 1}, {Term: "or", Count: 1}, {Term: "to", Count: 2}},
		"":                           nil,
	} {
		if got := QueryTerms(in); !slices.Equal(got, want) {
			t.Errorf("QueryTerms(%q) = %v, want %v", in, got, want)
		}
	}
}

// The stems of testdata/porter.txt are those of NLTK's Porter stemmer with Martin
// Porter's extensions; the full comparison had 41,562 words and no difference.
func TestStemIsPorters(t *testing.T) {
	f, err := os.Open("testdata/porter.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for in := bufio.NewScanner(f); in.Scan(); n++ {
		word, want, _ := strings.Cut(in.Text(), " ")
		if got := Stem(word); got != want {
			t.Errorf("Stem(%q) = %q, want %q", word, got, want)
		}
	}
	if n < 1400 {
		t.Errorf("only %d words", n)
	}
}

func TestStemLeavesOtherWordsAlone(t *testing.T) {
	for _, w := range []string{"", "is", "as", "2s", "v1s", "größes", "naïves"} {
		if got := Stem(w); got != w {
			t.Errorf("Stem(%q) = %q", w, got)
		}
	}
}

// Case, accents' composition and white space around it do not change what a text counts.
func TestTermsOfEqualTextsAreEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.StringMatching(`[a-z]{1,12}`)).Draw(t, "words")
		a, n := Terms(strings.Join(words, " "))
		b, m := Terms("  " + strings.ToUpper(strings.Join(words, "\n\t- ")) + ".")
		if n != m || int(n) != len(words) || !slices.Equal(a, b) {
			t.Fatalf("%q: %v (%d) and %v (%d)", words, a, n, b, m)
		}
	})
}

func FuzzTerms(f *testing.F) {
	for _, s := range []string{"Hello, world's 3.14!", "東京 タワー", "don’t\xff", "ﬁ\u0301\u200d", "한국어"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		terms, length := Terms(s)
		again, m := Terms(s)
		if !slices.Equal(terms, again) || length != m {
			t.Fatalf("%q: two answers", s)
		}
		sum := uint32(0)
		for i, tc := range terms {
			sum += tc.Count
			if tc.Term == "" || tc.Count == 0 || len(tc.Term) > 4*maxTermRunes || i > 0 && terms[i-1].Term >= tc.Term {
				t.Fatalf("%q: term %d is %q × %d", s, i, tc.Term, tc.Count)
			}
		}
		if sum > length {
			t.Fatalf("%q: %d counted, length %d", s, sum, length)
		}
		feature := domain.Feature{Terms: terms, Length: length}
		if _, err := domain.DecodeFeature("", feature.Encode()); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkTerms(b *testing.B) {
	c := readCranfield(b)
	b.SetBytes(int64(len(c.docs[0])))
	for b.Loop() {
		Terms(c.docs[0])
	}
}
