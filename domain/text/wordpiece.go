package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// BERT uncased WordPiece tokenisation, as the model was trained with. The steps'
// order matters: cleaning, ideographs, decomposition and accents, lower case,
// splitting, longest match. Special tokens are ordinary text here.

// maxWordRunes is the longest word in code points that WordPiece looks at; longer
// ones give nothing. The model file states the same number.
const maxWordRunes = 100

// wordPieces calls emit with the row of every vocabulary entry of s, in order.
func (m *model) wordPieces(s string, emit func(row int)) {
	s = fold(s)
	start, runes := 0, 0
	flush := func(end int) {
		if end > start && runes <= maxWordRunes {
			m.matchWord(s[start:end], emit)
		}
		runes = 0
	}
	for i, r := range s {
		switch {
		case r == ' ':
			flush(i)
			start = i + 1
		case isWordPiecePunctuation(r):
			flush(i)
			start, runes = i, 1
			end := i + utf8.RuneLen(r)
			flush(end)
			start = end
		default:
			runes++
		}
	}
	flush(len(s))
}

// matchWord emits the greedy longest match of word from the left, or nothing at
// all if some part of it matches no entry.
func (m *model) matchWord(word string, emit func(row int)) {
	var rows [maxWordRunes]int
	n := 0
	table := m.first
	for len(word) > 0 {
		end := min(len(word), m.longest)
		row, found := 0, false
		for ; end > 0; end-- {
			if end < len(word) && !utf8.RuneStart(word[end]) {
				continue
			}
			if row, found = lookup(table, word[:end]); found {
				break
			}
		}
		if !found {
			return
		}
		rows[n] = row
		n++
		word = word[end:]
		table = m.continued
	}
	for _, row := range rows[:n] {
		emit(row)
	}
}

func lookup(table map[string]int32, s string) (int, bool) {
	row, ok := table[s]
	return int(row), ok
}

// fold does steps 1 to 5: clean, space out ideographs, decompose, drop accents,
// lower case. The only white space of its result is U+0020.
func fold(s string) string {
	if ascii(s) {
		return foldASCII(s)
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for _, r := range s {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			b.WriteByte(' ')
		case r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs): // not Cn, which unicode.C has
		case unicode.Is(unicode.Z, r):
			b.WriteByte(' ')
		case isIdeograph(r):
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	s = norm.NFD.String(b.String())
	b.Reset()
	b.Grow(len(s))
	for _, r := range s {
		if !unicode.Is(unicode.Mn, r) {
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func foldASCII(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\t' || c == '\n' || c == '\r':
			c = ' '
		case c < ' ' || c == 0x7f:
			continue
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}

// isIdeograph says whether r gets spaces around it: CJK ideographs, but neither
// kana nor Hangul.
func isIdeograph(r rune) bool {
	return r >= 0x3400 &&
		(r >= 0x4E00 && r <= 0x9FFF || r <= 0x4DBF ||
			r >= 0x20000 && r <= 0x2A6DF || r >= 0x2A700 && r <= 0x2B73F || r >= 0x2B740 && r <= 0x2B81F ||
			r >= 0x2B920 && r <= 0x2CEAF || r >= 0xF900 && r <= 0xFAFF || r >= 0x2F800 && r <= 0x2FA1F)
}

// isWordPiecePunctuation says whether r is a word of its own: ASCII signs and symbols alike, and P*.
func isWordPiecePunctuation(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= 33 && r <= 47 || r >= 58 && r <= 64 || r >= 91 && r <= 96 || r >= 123 && r <= 126
	}
	return unicode.Is(unicode.P, r)
}
