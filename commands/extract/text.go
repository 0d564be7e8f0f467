package extract

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"varve/domain"
	"varve/domain/text"
)

// TextExtractor makes one document of a text, or one of each chunk: its term counts for
// BM25 and its vector by the built-in embedder.
type TextExtractor struct {
	SourceType     string `json:"source_type" default:"text" enum:"text" doc:"What the input is. Only text: videos are not transcribed."`
	SplitBy        string `json:"split_by" default:"none" enum:"none characters words sentences paragraphs pages markdown" doc:"How the text is cut into chunks, each of which becomes a document. Chunk size and overlap count these units; pages are separated by form feeds; markdown cuts at headings and counts characters."`
	ChunkSize      int    `json:"chunk_size" default:"1000" min:"1" max:"10000" doc:"Units of split_by in a chunk, at most."`
	ChunkOverlap   int    `json:"chunk_overlap" default:"0" min:"0" max:"5000" doc:"Units at the end of a chunk that the next one repeats; smaller than chunk_size."`
	EmbeddingModel string `json:"embedding_model" default:"minilm_l6_v2_static_256" enum:"minilm_l6_v2_static_256" doc:"The embedder. The built-in one needs no network: all-MiniLM-L6-v2 distilled into one vector a token, 256 dimensions, English."`

	SegmentLength   json.RawMessage `json:"segment_length_seconds" default:"120" refused:"text has no time segments"`
	Language        json.RawMessage `json:"language" default:"en" refused:"stemmer and embedder are made for English; other languages are taken as they are"`
	ExtractCaptions json.RawMessage `json:"extract_captions" default:"true" refused:"videos are not transcribed"`
	ResponseShape   json.RawMessage `json:"response_shape" refused:"this extractor asks no language model"`
	LLMProvider     json.RawMessage `json:"llm_provider" refused:"this extractor asks no language model"`
	LLMModel        json.RawMessage `json:"llm_model" refused:"this extractor asks no language model"`
	LLMAPIKey       json.RawMessage `json:"llm_api_key" refused:"this extractor asks no language model"`
	EmbeddingTask   json.RawMessage `json:"embedding_task" refused:"the built-in embedder has one task"`
}

const (
	textExtractor = "text_extractor"
	textV1        = "v1"
	// TextDense is the output that holds the built-in embedder's vector; "embedding" is another name of it.
	TextDense = "minilm_l6_v2_static_256"
	// TextSparse is the output that holds term counts.
	TextSparse = "bm25"

	maxTextBytes = 64 << 20
	maxChunks    = 200_000
)

var textIndexes = []VectorIndex{
	{Name: TextDense, Aliases: []string{"embedding"}, Description: "Meaning of the text by the built-in embedder, at unit length.",
		Type: Dense, Dimensions: text.Dimensions, Distance: "cosine", FeatureURI: featureURI(textExtractor, textV1, TextDense)},
	{Name: TextSparse, Description: "Counts of stemmed words, scored by BM25.",
		Type: Sparse, Distance: "bm25", FeatureURI: featureURI(textExtractor, textV1, TextSparse)},
}

var _ = register(define(kind[TextExtractor]{
	Description: Description{
		Name: textExtractor, Version: textV1, Icon: "file-text", Category: "text",
		Description:         "Cuts text into chunks and makes them searchable by words (BM25) and by meaning (built-in embedder, no network).",
		SupportedInputTypes: []string{"text", "string"},
		MaxInputs:           map[string]int{"text": 100},
		InputSchema:         json.RawMessage(`{"type":"object","properties":{"text":{"type":"string","description":"The text. Several mapped inputs, whatever their keys, are joined in order by a blank line."}},"required":["text"]}`),
		OutputSchema: json.RawMessage(`{"type":"object","properties":{"text":{"type":"string","description":"The chunk, or the whole text."},` +
			`"chunk_index":{"type":"integer","description":"Number of the chunk, from 0; only where the text is split."},` +
			`"chunk_start":{"type":"integer","description":"First byte of the chunk in the text's UTF-8."},"chunk_end":{"type":"integer","description":"Byte after its last."}},"required":["text"]}`),
		PositionFields: []string{"chunk_index"},
		Capabilities:   []string{"semantic_search", "keyword_search", "hybrid_search"},
		ExampleUsage:   json.RawMessage(`{"feature_extractor_name":"text_extractor","version":"v1","parameters":{"extractor_type":"text_extractor","split_by":"sentences","chunk_size":5,"chunk_overlap":1},"input_mappings":{"text":"content"}}`),
		Code: map[string]string{"tokenizer": text.TokenizerVersion, "stemmer": text.StemmerVersion, "embedder": text.EmbedderVersion,
			"splitter": text.SplitterVersion, "unicode": text.UnicodeVersion},
	},
	check: func(path string, p TextExtractor) []violation {
		if p.SplitBy != string(text.SplitNone) && p.ChunkOverlap >= p.ChunkSize {
			return []violation{{Path: path + ".chunk_overlap", Type: "range", Message: fmt.Sprintf("is %d; must be less than chunk_size, which is %d", p.ChunkOverlap, p.ChunkSize)}}
		}
		return nil
	},
	outputs: func(TextExtractor) []VectorIndex { return slices.Clone(textIndexes) },
	extract: extractText,
}))

func extractText(ctx context.Context, p TextExtractor, in Input) ([]Output, error) {
	whole, err := inputText(in)
	if err != nil {
		return nil, err
	}
	chunks, err := text.Split(whole, text.Splitting{By: text.SplitBy(p.SplitBy), Size: p.ChunkSize, Overlap: p.ChunkOverlap})
	if err != nil {
		return nil, &Error{Kind: Permanent, Reason: err.Error(), Err: err}
	}
	if len(chunks) > maxChunks {
		return nil, &Error{Kind: Resource, Reason: fmt.Sprintf("the text gives %d chunks; at most %d are made of one object: raise chunk_size", len(chunks), maxChunks)}
	}
	outputs := make([]Output, len(chunks))
	for i, c := range chunks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		payload := map[string]json.RawMessage{"text": encodeString(c.Text)}
		if p.SplitBy != string(text.SplitNone) {
			payload["chunk_index"] = encode(i)
			payload["chunk_start"] = encode(c.Start)
			payload["chunk_end"] = encode(c.End)
		}
		outputs[i] = Output{Ordinal: i, Payload: payload, Features: textFeatures(c.Text)}
	}
	return outputs, nil
}

// textFeatures leaves out what a text does not have: no known token, no vector; no word, no terms.
func textFeatures(s string) []domain.Feature {
	var features []domain.Feature
	if v, ok := text.Embed(s); ok {
		features = append(features, domain.Feature{URI: textIndexes[0].FeatureURI, Dense: v})
	}
	if terms, length := text.Terms(s); length > 0 {
		features = append(features, domain.Feature{URI: textIndexes[1].FeatureURI, Terms: terms, Length: length})
	}
	return features
}

// inputText joins the mapped inputs in order, or without mappings takes the field "text".
func inputText(in Input) (string, error) {
	values := in.Values
	if len(values) == 0 {
		raw, ok := in.Fields["text"]
		if !ok {
			return "", permanent("there is no input: map a field to \"text\" with input_mappings, or name a field \"text\"; the source has %s", fieldNames(in.Fields))
		}
		values = []Value{{Key: "text", JSON: raw}}
	}
	var parts []string
	size := 0
	for _, v := range values {
		s, err := v.text()
		if err != nil {
			return "", err
		}
		if strings.TrimSpace(s) == "" {
			continue
		}
		if size += len(s); size > maxTextBytes {
			return "", &Error{Kind: Resource, Reason: fmt.Sprintf("the text has more than %d MiB", maxTextBytes>>20)}
		}
		parts = append(parts, s)
	}
	if len(parts) == 0 {
		return "", permanent("the text is empty: the inputs %s hold nothing", keysOf(values))
	}
	return strings.Join(parts, "\n\n"), nil
}

// text gives a value as text: a string, a number or truth value as written, a list of
// these a line each, a blob that is UTF-8. Null is empty.
func (v Value) text() (string, error) {
	if v.JSON == nil {
		if !utf8.Valid(v.Bytes) || bytes.IndexByte(v.Bytes, 0) >= 0 {
			mime := v.MimeType
			if mime == "" {
				mime = "binary data"
			}
			return "", permanent("the input %q is %s; text_extractor reads UTF-8 text", v.Key, mime)
		}
		return strings.TrimPrefix(string(v.Bytes), "\ufeff"), nil
	}
	raw := bytes.TrimSpace(v.JSON)
	if len(raw) == 0 {
		return "", nil
	}
	switch raw[0] {
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", permanent("the input %q is not valid JSON", v.Key)
		}
		return s, nil
	case '[':
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return "", permanent("the input %q is not valid JSON", v.Key)
		}
		lines := make([]string, 0, len(list))
		for i, element := range list {
			s, err := Value{Key: fmt.Sprintf("%s[%d]", v.Key, i), JSON: element}.text()
			if err != nil {
				return "", err
			}
			lines = append(lines, s)
		}
		return strings.Join(lines, "\n"), nil
	case '{':
		return "", permanent("the input %q is an object; map a text inside it, for example %q", v.Key, v.Key+".text")
	case 'n':
		return "", nil
	}
	return string(raw), nil
}

// keysOf names the inputs of values; several values may come in under one.
func keysOf(values []Value) string {
	keys := make([]string, len(values))
	for i, v := range values {
		keys[i] = v.Key
	}
	return strings.Join(slices.Compact(keys), ", ")
}

func fieldNames(fields map[string]json.RawMessage) string {
	if len(fields) == 0 {
		return "no fields"
	}
	names := slices.Sorted(maps.Keys(fields))
	if len(names) > 20 {
		names = append(names[:20], "…")
	}
	return strings.Join(names, ", ")
}

// encodeString writes a JSON string that keeps <, > and & as they are.
func encodeString(s string) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic("encode a string: " + err.Error())
	}
	return bytes.TrimSpace(b.Bytes())
}
