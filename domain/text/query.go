package text

import "varve/domain"

// StopwordsVersion names the words that QueryTerms leaves out.
const StopwordsVersion = "english-v1"

// stopwords are words that a question has for its grammar. The first line is the list
// that Lucene's EnglishAnalyzer ships; the second adds what questions are put with.
var stopwords = wordSet(
	"a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
	"what", "which", "how", "who", "when", "where", "why", "can", "could", "do", "does", "did", "has", "have", "had", "been", "were", "from",
)

func wordSet(words ...string) map[string]bool {
	set := make(map[string]bool, len(words))
	for _, w := range words {
		set[Stem(w)] = true
	}
	return set
}

// QueryTerms counts the terms of a query, sorted by term: those of Terms without stop words
// (StopwordsVersion), or all of them where nothing else is there, so that a title of
// stop words only is still found. Documents are counted with Terms.
func QueryTerms(s string) []domain.TermCount {
	all, _ := Terms(s)
	var kept []domain.TermCount
	for _, t := range all {
		if !stopwords[t.Term] {
			kept = append(kept, t)
		}
	}
	if kept == nil {
		return all
	}
	return kept
}
