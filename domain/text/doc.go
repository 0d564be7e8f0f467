// Package text turns text into what is searched: term counts for BM25, a dense
// vector of the built-in embedder, and chunks. All of it is a pure function of the
// text and of a version; a change that alters any result is a new version, and the
// old one stays, because effective configurations and execution records name it.
//
// Results also depend on the Unicode tables of the Go release (categories, case
// mapping, decomposition); UnicodeVersion names them, and a test refuses a Go
// release with other tables until the versions here were looked at.
package text

import "unicode"

// Versions as they are pinned in effective configurations and execution records.
const (
	// TokenizerVersion names the rules by which Terms finds words.
	TokenizerVersion = "words-v1"
	// StemmerVersion names the rules by which Stem reduces an English word.
	StemmerVersion = "porter-v1"
	// EmbedderVersion names the vectors of Embed: model, tokenisation and arithmetic.
	EmbedderVersion = "minilm_l6_v2_static_256-v1"
	// SplitterVersion names the rules by which Split cuts.
	SplitterVersion = "split-v1"
)

// UnicodeVersion is the version of the Unicode tables in use.
const UnicodeVersion = unicode.Version
