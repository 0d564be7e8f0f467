package text

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestSplit(t *testing.T) {
	const md = "intro\n\n# One\ntext\n```\n# no heading\n```\n## Two\nmore\n#tag\n"
	for _, c := range []struct {
		name, in string
		how      Splitting
		want     []string
	}{
		{"none", " a b ", Splitting{By: SplitNone}, []string{" a b "}},
		{"none of a blank text", " \n", Splitting{By: SplitNone}, nil},
		{"characters", "abcdefg", Splitting{SplitCharacters, 3, 0}, []string{"abc", "def", "g"}},
		{"characters are code points", "äöü漢字", Splitting{SplitCharacters, 2, 0}, []string{"äö", "ü漢", "字"}},
		{"overlap", "abcdefg", Splitting{SplitCharacters, 3, 1}, []string{"abc", "cde", "efg"}},
		{"no chunk of overlap alone", "abcde", Splitting{SplitCharacters, 3, 1}, []string{"abc", "cde"}},
		{"blank chunks", "ab    cd", Splitting{SplitCharacters, 2, 0}, []string{"ab", "cd"}},
		{"words", "one  two\nthree four five", Splitting{SplitWords, 2, 0}, []string{"one  two", "three four", "five"}},
		{"words overlap", "a b c d", Splitting{SplitWords, 3, 2}, []string{"a b c", "b c d"}},
		{"words of Japanese", "東京 tower", Splitting{SplitWords, 1, 0}, []string{"東", "京", "tower"}},
		{"paragraphs", "a\nb\n\n \n\nc\r\n\r\nd\u2029\u2029e", Splitting{SplitParagraphs, 1, 0}, []string{"a\nb", "c", "d", "e"}},
		{"two paragraphs", "a\n\nb\n\nc", Splitting{SplitParagraphs, 2, 0}, []string{"a\n\nb", "c"}},
		{"pages", "a\fb\f\fc", Splitting{SplitPages, 1, 0}, []string{"a", "b", "c"}},
		{"markdown", md, Splitting{SplitMarkdown, 100, 0}, []string{"intro", "# One\ntext\n```\n# no heading\n```", "## Two\nmore\n#tag"}},
		{"a long markdown section", "# A\n12345678", Splitting{SplitMarkdown, 8, 0}, []string{"# A\n1234", "5678"}},
		{"sentences", "Hello there. How are you? Fine!", Splitting{SplitSentences, 1, 0}, []string{"Hello there.", "How are you?", "Fine!"}},
		{"two sentences", "A b. C d. E f.", Splitting{SplitSentences, 2, 1}, []string{"A b. C d.", "C d. E f."}},
		{"abbreviations", "Dr. Smith met Mr. J. Doe, e.g. in the U.S. Army. He left.", Splitting{SplitSentences, 1, 0},
			[]string{"Dr. Smith met Mr. J. Doe, e.g. in the U.S. Army.", "He left."}},
		{"numbers", "It cost 3.50 dollars. Then v1.2 came.", Splitting{SplitSentences, 1, 0}, []string{"It cost 3.50 dollars.", "Then v1.2 came."}},
		{"quotes", `He said "Go." She went. (Really.) Yes`, Splitting{SplitSentences, 1, 0}, []string{`He said "Go."`, "She went.", "(Really.)", "Yes"}},
		{"lower case goes on", "The file main.go. is here. ok", Splitting{SplitSentences, 1, 0}, []string{"The file main.go. is here. ok"}},
		{"a text without capitals", "flow past a plate . results are given . done", Splitting{SplitSentences, 1, 0},
			[]string{"flow past a plate .", "results are given .", "done"}},
		{"Japanese", "東京です。大阪です！はい", Splitting{SplitSentences, 1, 0}, []string{"東京です。", "大阪です！", "はい"}},
		{"a paragraph ends a sentence", "Title\n\nText here", Splitting{SplitSentences, 1, 0}, []string{"Title", "Text here"}},
	} {
		chunks, err := Split(c.in, c.how)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, chunk := range chunks {
			got = append(got, chunk.Text)
			if chunk.Text != c.in[chunk.Start:chunk.End] {
				t.Errorf("%s: bytes %d to %d are not %q", c.name, chunk.Start, chunk.End, chunk.Text)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestSplitRefusesWhatDoesNotFit(t *testing.T) {
	for _, how := range []Splitting{{}, {By: "time_segments", Size: 1}, {SplitWords, 0, 0}, {SplitWords, 2, 2}, {SplitWords, 2, -1}} {
		if _, err := Split("a b c", how); err == nil {
			t.Errorf("%+v is accepted", how)
		}
	}
}

// checkChunks holds for every text and splitting: chunks are trimmed parts in order and lose nothing but white space (and form feeds).
func checkChunks(t interface{ Fatalf(string, ...any) }, s string, how Splitting) {
	chunks, err := Split(s, how)
	if err != nil {
		t.Fatalf("%+v: %v", how, err)
	}
	blank := func(s string) bool { return strings.TrimSpace(s) == "" }
	reached, last := 0, -1
	for i, c := range chunks {
		if c.Start <= last || c.End < reached || s[c.Start:c.End] != c.Text || blank(c.Text) {
			t.Fatalf("%+v of %q: chunk %d is %+v after %d", how, s, i, c, reached)
		}
		if how.By != SplitNone && c.Text != strings.TrimFunc(c.Text, unicode.IsSpace) {
			t.Fatalf("%+v of %q: chunk %d %q is not trimmed", how, s, i, c.Text)
		}
		if c.Start > reached && !blank(s[reached:c.Start]) {
			t.Fatalf("%+v of %q: %q is lost", how, s, s[reached:c.Start])
		}
		if (how.By == SplitCharacters || how.By == SplitMarkdown) && utf8.RuneCountInString(c.Text) > how.Size {
			t.Fatalf("%+v of %q: chunk %q is too long", how, s, c.Text)
		}
		reached, last = c.End, c.Start
	}
	if !blank(s[reached:]) {
		t.Fatalf("%+v of %q: %q is lost", how, s, s[reached:])
	}
}

func TestSplitLosesNothing(t *testing.T) {
	piece := rapid.SampledFrom([]string{"a", "B", " ", "\n", "\n\n", ". ", "? ", "。", "漢", "é", "\f", "# ", "\n# H\n", "```\n", "Dr. ", "\"", "\r\n", "\u2029", "\xff"})
	rapid.Check(t, func(t *rapid.T) {
		s := strings.Join(rapid.SliceOf(piece).Draw(t, "text"), "")
		size := rapid.IntRange(1, 6).Draw(t, "size")
		how := Splitting{rapid.SampledFrom(SplitStrategies()).Draw(t, "by"), size, rapid.IntRange(0, size-1).Draw(t, "overlap")}
		checkChunks(t, s, how)
	})
}

func FuzzSplit(f *testing.F) {
	f.Add("Dr. A. said: “no.” Then… 3.5 。x\n\n# H\n```\n#", uint8(2), uint8(1))
	f.Fuzz(func(t *testing.T, s string, size, overlap uint8) {
		if len(s) > 4096 {
			return
		}
		for _, by := range SplitStrategies() {
			checkChunks(t, s, Splitting{by, int(size) + 1, int(overlap) % (int(size) + 1)})
		}
	})
}
