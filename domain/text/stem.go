package text

import "strings"

// Stem reduces an English word of lower-case ASCII letters to its stem, by Porter's
// algorithm (M.F. Porter, An algorithm for suffix stripping, Program 14/3, 1980, with
// the two later rules of his own implementation, "bli" and "logi"). Other words,
// and those of one or two letters, come back as they are.
func Stem(word string) string {
	if len(word) <= 2 {
		return word
	}
	for i := 0; i < len(word); i++ {
		if word[i] < 'a' || word[i] > 'z' {
			return word
		}
	}
	w := stemming(word)
	w = w.plural()
	w = w.pastAndGerund()
	if rest, ok := w.cut("y"); ok && rest.hasVowel() {
		w = rest + "i"
	}
	w = w.replaceFirst(1, doubleSuffixes)
	w = w.replaceFirst(1, simpleSuffixes)
	w = w.dropResidue()
	return string(w.tidy())
}

// stemming is a word or what is left of it.
type stemming string

// suffix is one rule: what a word ends in, and what stands there afterwards.
type suffix struct{ from, to string }

// Rules of step 2; the first that fits the end decides, applied or not.
var doubleSuffixes = []suffix{
	{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"}, {"bli", "ble"},
	{"alli", "al"}, {"entli", "ent"}, {"eli", "e"}, {"ousli", "ous"}, {"ization", "ize"}, {"ation", "ate"},
	{"ator", "ate"}, {"alism", "al"}, {"iveness", "ive"}, {"fulness", "ful"}, {"ousness", "ous"},
	{"aliti", "al"}, {"iviti", "ive"}, {"biliti", "ble"}, {"logi", "log"},
}

// Rules of step 3.
var simpleSuffixes = []suffix{
	{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""}, {"ness", ""},
}

// Suffixes of step 4, which fall off a long enough rest.
var residues = []string{
	"al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate",
	"iti", "ous", "ive", "ize",
}

// cut gives the word without a suffix that it ends in.
func (w stemming) cut(suffix string) (stemming, bool) {
	rest, ok := strings.CutSuffix(string(w), suffix)
	return stemming(rest), ok
}

// consonant says whether letter i is one: y is after a vowel or at the beginning.
func (w stemming) consonant(i int) bool {
	switch w[i] {
	case 'a', 'e', 'i', 'o', 'u':
		return false
	case 'y':
		return i == 0 || !w.consonant(i-1)
	}
	return true
}

// measure counts how often consonants follow vowels.
func (w stemming) measure() int {
	m, vowel := 0, false
	for i := range w {
		c := w.consonant(i)
		if c && vowel {
			m++
		}
		vowel = !c
	}
	return m
}

func (w stemming) hasVowel() bool {
	for i := range w {
		if !w.consonant(i) {
			return true
		}
	}
	return false
}

// double says whether the word ends in the same consonant twice.
func (w stemming) double() bool {
	n := len(w)
	return n >= 2 && w[n-1] == w[n-2] && w.consonant(n-1)
}

// short says whether the word ends in consonant, vowel, consonant other than w, x, y.
func (w stemming) short() bool {
	n := len(w)
	return n >= 3 && w.consonant(n-3) && !w.consonant(n-2) && w.consonant(n-1) && !strings.ContainsRune("wxy", rune(w[n-1]))
}

// plural is step 1a.
func (w stemming) plural() stemming {
	for _, r := range []suffix{{"sses", "ss"}, {"ies", "i"}, {"ss", "ss"}, {"s", ""}} {
		if rest, ok := w.cut(r.from); ok {
			return rest + stemming(r.to)
		}
	}
	return w
}

// pastAndGerund is step 1b.
func (w stemming) pastAndGerund() stemming {
	if rest, ok := w.cut("eed"); ok {
		if rest.measure() > 0 {
			return rest + "ee"
		}
		return w
	}
	rest, ok := w.cut("ed")
	if !ok {
		rest, ok = w.cut("ing")
	}
	if !ok || !rest.hasVowel() {
		return w
	}
	for _, end := range []string{"at", "bl", "iz"} {
		if _, ok := rest.cut(end); ok {
			return rest + "e"
		}
	}
	if n := len(rest); rest.double() && !strings.ContainsRune("lsz", rune(rest[n-1])) {
		return rest[:n-1]
	}
	if rest.measure() == 1 && rest.short() {
		return rest + "e"
	}
	return rest
}

// replaceFirst applies the longest rule that fits if the rest's measure is at least m.
func (w stemming) replaceFirst(m int, rules []suffix) stemming {
	for _, r := range rules {
		if rest, ok := w.cut(r.from); ok {
			if rest.measure() >= m {
				return rest + stemming(r.to)
			}
			return w
		}
	}
	return w
}

// dropResidue is step 4.
func (w stemming) dropResidue() stemming {
	for _, end := range residues {
		rest, ok := w.cut(end)
		if !ok {
			continue
		}
		if rest.measure() <= 1 || end == "ion" && !(strings.HasSuffix(string(rest), "s") || strings.HasSuffix(string(rest), "t")) {
			return w
		}
		return rest
	}
	return w
}

// tidy is step 5: a last e, and a double l.
func (w stemming) tidy() stemming {
	if rest, ok := w.cut("e"); ok {
		if m := rest.measure(); m > 1 || m == 1 && !rest.short() {
			w = rest
		}
	}
	if n := len(w); w.double() && w[n-1] == 'l' && w.measure() > 1 {
		w = w[:n-1]
	}
	return w
}
