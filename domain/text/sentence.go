package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// abbreviations end in a full stop that ends no sentence, where more follows.
var abbreviations = map[string]bool{}

func init() {
	for _, a := range strings.Fields("mr mrs ms dr prof st sr jr rev gen col sgt capt lt hon gov sen rep pres " +
		"vs etc cf al eg ie e.g i.e viz approx ca dept est fig figs eq eqs sec ch chap ref refs vol vols no nos pp ed eds " +
		"inc ltd co corp jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k a.m p.m ph.d") {
		abbreviations[a] = true
	}
}

// endsSentence says whether r is punctuation that may end a sentence.
func endsSentence(r rune) bool { return strings.ContainsRune(".!?…。！？｡।؟", r) }

// endsWithoutSpace says whether r ends a sentence also where no white space follows.
func endsWithoutSpace(r rune) bool { return strings.ContainsRune("。！？｡", r) }

func closes(r rune) bool {
	return strings.ContainsRune(`"')]}»`, r) || unicode.In(r, unicode.Pf, unicode.Pe)
}

// sentences cuts one paragraph. A sentence ends with punctuation, closing quotes
// and brackets, where white space follows (not needed after ideographic full
// stops), unless the full stop belongs to an abbreviation, an initial or a number,
// or the next word begins in lower case; the last does not count in a text that has no
// capitals at all.
func sentences(s string, p span) []span {
	text := s[p.start:p.end]
	lowerOnly := !strings.ContainsFunc(text, unicode.IsUpper)
	var out []span
	start := 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if !endsSentence(r) {
			i += size
			continue
		}
		first, stop := i, r
		for i < len(text) {
			r, size = utf8.DecodeRuneInString(text[i:])
			if !endsSentence(r) && !closes(r) {
				break
			}
			i += size
		}
		if i == len(text) || !boundary(text, first, i, stop, lowerOnly) {
			continue
		}
		out = appendText(out, text, span{start, i})
		start = i
	}
	out = appendText(out, text, span{start, len(text)})
	for i := range out {
		out[i] = trim(s, span{p.start + out[i].start, p.start + out[i].end})
	}
	return out
}

// boundary decides about the punctuation text[first:end], which begins with stop.
func boundary(text string, first, end int, stop rune, lowerOnly bool) bool {
	if endsWithoutSpace(stop) {
		return true
	}
	next, _ := utf8.DecodeRuneInString(text[end:])
	if !unicode.IsSpace(next) {
		return false
	}
	if stop != '.' {
		return true
	}
	if after, _ := utf8.DecodeRuneInString(strings.TrimLeftFunc(text[end:], unicode.IsSpace)); unicode.IsLower(after) && !lowerOnly {
		return false
	}
	if end-first > 1 {
		return true // "…", ".)", `."`
	}
	word := text[:first]
	if i := strings.LastIndexFunc(word, func(r rune) bool { return unicode.IsSpace(r) || r == '(' || r == '[' }); i >= 0 {
		_, size := utf8.DecodeRuneInString(word[i:])
		word = word[i+size:]
	}
	if abbreviations[strings.ToLower(word)] {
		return false
	}
	initial, size := utf8.DecodeRuneInString(word)
	return !(size == len(word) && size > 0 && unicode.IsUpper(initial) && initial != 'I')
}
