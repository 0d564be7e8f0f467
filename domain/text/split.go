package text

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SplitBy names a way to cut a text into chunks.
type SplitBy string

// The ways to cut, each with the unit that size and overlap are counted in.
const (
	SplitNone       SplitBy = "none"       // one chunk: the text as it is
	SplitCharacters SplitBy = "characters" // code points
	SplitWords      SplitBy = "words"      // runs without white space; single characters in scripts without spaces
	SplitSentences  SplitBy = "sentences"  // by punctuation, common English abbreviations excepted
	SplitParagraphs SplitBy = "paragraphs" // separated by blank lines
	SplitPages      SplitBy = "pages"      // separated by form feeds
	SplitMarkdown   SplitBy = "markdown"   // sections by heading; size is in code points, longer sections are cut
)

// SplitStrategies lists every way to cut.
func SplitStrategies() []SplitBy {
	return []SplitBy{SplitNone, SplitCharacters, SplitWords, SplitSentences, SplitParagraphs, SplitPages, SplitMarkdown}
}

// Splitting says how to cut: Size units a chunk, of which Overlap repeat the end of the chunk before.
type Splitting struct {
	By      SplitBy
	Size    int // at least 1; ignored by SplitNone
	Overlap int // 0 … Size-1
}

// Chunk is a part of a text: Text is exactly the bytes Start … End of it.
type Chunk struct {
	Text       string
	Start, End int
}

// Split cuts s (SplitterVersion). Chunks begin and end without white space, come in order, and a chunk
// of nothing else is left out, so that a blank text has none. It is an error if the
// splitting is none of the known ones or its numbers do not fit together.
func Split(s string, how Splitting) ([]Chunk, error) {
	if !slices.Contains(SplitStrategies(), how.By) {
		return nil, fmt.Errorf("split text: %q is not one of %v", how.By, SplitStrategies())
	}
	if how.By == SplitNone {
		if strings.TrimSpace(s) == "" {
			return nil, nil
		}
		return []Chunk{{s, 0, len(s)}}, nil
	}
	if how.Size < 1 || how.Overlap < 0 || how.Overlap >= how.Size {
		return nil, fmt.Errorf("split text: size %d and overlap %d; want a size of at least 1 and an overlap from 0 to size-1", how.Size, how.Overlap)
	}
	if how.By == SplitMarkdown {
		var spans []span
		for _, section := range markdownSections(s) {
			spans = append(spans, windows(characters(s, section), how.Size, how.Overlap)...)
		}
		return chunks(s, spans), nil
	}
	return chunks(s, windows(units(s, how.By), how.Size, how.Overlap)), nil
}

// span is a range of bytes of the text.
type span struct{ start, end int }

func units(s string, by SplitBy) []span {
	whole := span{0, len(s)}
	switch by {
	case SplitCharacters:
		return characters(s, whole)
	case SplitWords:
		return words(s)
	case SplitSentences:
		var all []span
		for _, p := range paragraphs(s) {
			all = append(all, sentences(s, p)...)
		}
		return all
	case SplitParagraphs:
		return paragraphs(s)
	default:
		return separated(s, "\f")
	}
}

// windows joins size units a time, each window beginning overlap units before the
// end of the last. The window that reaches the end is the last one.
func windows(units []span, size, overlap int) []span {
	var out []span
	for first := 0; first < len(units); first += size - overlap {
		last := min(first+size, len(units)) - 1
		out = append(out, span{units[first].start, units[last].end})
		if last == len(units)-1 {
			break
		}
	}
	return out
}

// chunks trims spans and leaves out blank ones and those that, trimmed, lie in a neighbour.
func chunks(s string, spans []span) []Chunk {
	var out []Chunk
	for _, p := range spans {
		p = trim(s, p)
		n := len(out)
		if p.start == p.end || n > 0 && p.end <= out[n-1].End {
			continue
		}
		if n > 0 && p.start <= out[n-1].Start {
			out = out[:n-1]
		}
		out = append(out, Chunk{s[p.start:p.end], p.start, p.end})
	}
	return out
}

func trim(s string, p span) span {
	text := s[p.start:p.end]
	p.end -= len(text) - len(strings.TrimRightFunc(text, unicode.IsSpace))
	text = s[p.start:p.end]
	p.start += len(text) - len(strings.TrimLeftFunc(text, unicode.IsSpace))
	return p
}

func characters(s string, in span) []span {
	out := make([]span, 0, in.end-in.start)
	for i := in.start; i < in.end; {
		_, size := utf8.DecodeRuneInString(s[i:])
		out = append(out, span{i, i + size})
		i += size
	}
	return out
}

func words(s string) []span {
	var out []span
	start := -1
	flush := func(end int) {
		if start >= 0 {
			out = append(out, span{start, end})
			start = -1
		}
	}
	for i, r := range s {
		switch {
		case unicode.IsSpace(r):
			flush(i)
		case isUnspaced(r):
			flush(i)
			out = append(out, span{i, i + utf8.RuneLen(r)})
		case start < 0:
			start = i
		}
	}
	flush(len(s))
	return out
}

func separated(s, separator string) []span {
	var out []span
	for start := 0; ; {
		i := strings.Index(s[start:], separator)
		if i < 0 {
			return appendText(out, s, span{start, len(s)})
		}
		out = appendText(out, s, span{start, start + i})
		start += i + len(separator)
	}
}

// paragraphs are runs of lines with text on them.
func paragraphs(s string) []span {
	var out []span
	current := span{-1, 0}
	eachLine(s, func(line span) {
		if strings.TrimSpace(s[line.start:line.end]) == "" {
			if current.start >= 0 {
				out = append(out, current)
				current.start = -1
			}
			return
		}
		if current.start < 0 {
			current.start = line.start
		}
		current.end = line.end
	})
	if current.start >= 0 {
		out = append(out, current)
	}
	return out
}

// markdownSections begin at ATX headings ("# …") outside fenced code; what comes before the first is one too.
func markdownSections(s string) []span {
	var out []span
	start, fence := 0, ""
	eachLine(s, func(line span) {
		text := strings.TrimLeft(s[line.start:line.end], " ")
		switch {
		case fence != "":
			if strings.HasPrefix(text, fence) {
				fence = ""
			}
		case strings.HasPrefix(text, "```"), strings.HasPrefix(text, "~~~"):
			fence = text[:3]
		case isHeading(text):
			out = appendText(out, s, span{start, line.start})
			start = line.start
		}
	})
	return appendText(out, s, span{start, len(s)})
}

func isHeading(line string) bool {
	rest := strings.TrimLeft(line, "#")
	level := len(line) - len(rest)
	return level >= 1 && level <= 6 && (rest == "" || rest[0] == ' ' || rest[0] == '\t')
}

// eachLine calls do with every line, without its end ("\n", "\r\n", "\r" or U+2029).
func eachLine(s string, do func(span)) {
	start := 0
	for i, r := range s {
		if r == '\n' || r == '\u2029' || r == '\r' && !strings.HasPrefix(s[i+1:], "\n") {
			do(span{start, i})
			start = i + utf8.RuneLen(r)
		}
	}
	do(span{start, len(s)})
}

func appendText(out []span, s string, p span) []span {
	if strings.TrimSpace(s[p.start:p.end]) == "" {
		return out
	}
	return append(out, p)
}
