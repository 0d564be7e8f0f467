package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"varve/domain"
)

// maxTermRunes is the longest word that becomes a term; longer ones (encoded data,
// mostly) count in the length and cannot be searched.
const maxTermRunes = 128

// Terms counts the terms of s for BM25 (TokenizerVersion, StemmerVersion), sorted
// by term, and the number of tokens, repeats included.
//
// A token is a run of letters, digits and marks, compared without case, accents and
// compatibility forms (NFKD, less accents, lower case, NFC). An apostrophe between letters
// belongs to the word and a "'s" at its end is dropped; a full stop or comma between
// digits belongs to the number. Of scripts without spaces (Han, kana, Thai, Lao, Khmer,
// Myanmar) each character is a token and so is each pair of neighbours. Words of ASCII
// letters are stemmed as English ones. Stop words are counted: a title of nothing else
// stays findable, and QueryTerms leaves them out of the question.
func Terms(s string) (terms []domain.TermCount, length uint32) {
	counts := map[string]uint32{}
	Tokens(s, func(term string) {
		length++
		if term != "" {
			counts[term]++
		}
	})
	return domain.SortTerms(counts), length
}

// Tokens calls emit with the term of every token of s in order, "" for a token that
// is too long to be one.
func Tokens(s string, emit func(term string)) {
	s = normalize(s)
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case isUnspaced(r):
			end := size
			for end < len(s) {
				next, n := utf8.DecodeRuneInString(s[end:])
				if !isUnspaced(next) {
					break
				}
				end += n
			}
			unspaced(s[:end], emit)
			s = s[end:]
		case isWord(r):
			end := wordEnd(s)
			emit(term(s[:end]))
			s = s[end:]
		default:
			s = s[size:]
		}
	}
}

// normalize folds compatibility forms, accents and case.
func normalize(s string) string {
	if ascii(s) {
		return strings.ToLower(s)
	}
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range norm.NFKD.String(s) {
		switch {
		case isAccent(r), unicode.Is(unicode.Cf, r): // with soft hyphens and zero-width joiners
		case r == '’' || r == 'ʼ':
			b.WriteByte('\'')
		default:
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return norm.NFC.String(b.String())
}

// isWord says whether r can be in a word. Spacing marks (Mc) hold words of Indic scripts together.
func isWord(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z'
	}
	return !isUnspaced(r) && (unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r))
}

// isAccent says whether r is a mark that may fall off: accents of Latin, Greek and Cyrillic, vowel points of
// Arabic and Hebrew; not the vowel signs of Indic scripts, nor the kana's voicing marks.
func isAccent(r rune) bool {
	return r >= 0x300 && r != 0x3099 && r != 0x309A && unicode.Is(unicode.Mn, r) && unicode.In(r, unicode.Inherited, unicode.Hebrew, unicode.Cyrillic)
}

// isUnspaced says whether r is of a script that is written without spaces and here cut into characters.
func isUnspaced(r rune) bool {
	return r >= 0x0E00 && (r == 'ー' || unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar))
}

// wordEnd gives the end of the word at the beginning of s.
func wordEnd(s string) int {
	var previous rune
	for i, r := range s {
		if !isWord(r) {
			if r != '\'' && r != '.' && r != ',' {
				return i
			}
			next, _ := utf8.DecodeRuneInString(s[i+1:])
			inWord := r == '\'' && unicode.IsLetter(previous) && isWord(next) && unicode.IsLetter(next)
			inNumber := r != '\'' && isDigit(previous) && isDigit(next)
			if !inWord && !inNumber {
				return i
			}
		}
		previous = r
	}
	return len(s)
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

// term gives the term of a folded word.
func term(word string) string {
	if utf8.RuneCountInString(word) > maxTermRunes {
		return ""
	}
	word = strings.TrimSuffix(word, "'s")
	if strings.IndexByte(word, '\'') >= 0 {
		word = strings.ReplaceAll(word, "'", "")
	}
	return Stem(word)
}

// unspaced emits the characters of a run, each followed by its pair with the next.
func unspaced(run string, emit func(string)) {
	for len(run) > 0 {
		_, size := utf8.DecodeRuneInString(run)
		emit(run[:size])
		if size < len(run) {
			_, next := utf8.DecodeRuneInString(run[size:])
			emit(run[:size+next])
		}
		run = run[size:]
	}
}
