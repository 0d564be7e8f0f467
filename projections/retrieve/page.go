package retrieve

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash/crc32"
	"slices"

	"varve/domain"
)

// Limits of pages.
const (
	MaxPageSize   = 500
	MaxScrollSize = 1000
)

// page says which part of a result is asked for.
type page struct {
	method string // "" (everything, at most MaxPageSize), limit, offset, cursor, keyset, scroll
	size   int
	number int     // offset: from 1
	token  *cursor // cursor, scroll, and a keyset of ours
	after  string  // keyset: document id
}

// offsetPage and so on are the bodies of the methods.
type (
	offsetPage struct {
		Method     string `json:"method" default:"offset"`
		PageSize   int    `json:"page_size" default:"10" min:"1" max:"500"`
		Limit      int    `json:"limit" min:"1" max:"500"`
		PageNumber int    `json:"page_number" default:"1" min:"1" max:"100000"`
		Page       int    `json:"page" min:"1" max:"100000"`
		Offset     int    `json:"offset" min:"0" max:"100000"`
	}
	cursorPage struct {
		Method string `json:"method"`
		Limit  int    `json:"limit" default:"10" min:"1" max:"500"`
		Cursor string `json:"cursor"`
	}
	keysetPage struct {
		Method string `json:"method"`
		Limit  int    `json:"limit" default:"10" min:"1" max:"500"`
		After  any    `json:"after"`
	}
	scrollPage struct {
		Method    string `json:"method"`
		Limit     int    `json:"limit" default:"100" min:"1" max:"1000"`
		ScrollID  string `json:"scroll_id"`
		ScrollTTL int    `json:"scroll_ttl" default:"300" min:"60" max:"3600"`
	}
)

// parsePage reads a request's pagination, or its limit.
func parsePage(raw json.RawMessage, limit int) (*page, error) {
	v, err := decodeTree(raw)
	if err != nil {
		return nil, domain.Invalid("pagination", "json", "%s", err.Error())
	}
	if v == nil {
		switch {
		case limit < 0 || limit > MaxPageSize:
			return nil, domain.Invalid("limit", "range", "%d is out of range; allowed are 1 to %d", limit, MaxPageSize)
		case limit > 0:
			return &page{method: "limit", size: limit}, nil
		}
		return &page{size: MaxPageSize}, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, domain.Invalid("pagination", "type", "must be an object {method: offset, cursor, keyset or scroll, …}, not %s", describe(v))
	}
	method, _ := m["method"].(string)
	if method == "" {
		method = guessMethod(m)
	}
	p := &page{method: method}
	d := &decoder{}
	switch method {
	case "offset":
		var b offsetPage
		if err := d.decode("pagination", v, &b); err != nil {
			return nil, err
		}
		p.size, p.number = b.PageSize, max(b.PageNumber, b.Page)
		if b.Limit > 0 && m["page_size"] == nil {
			p.size = b.Limit
		}
		if b.Offset > 0 && p.number == 1 {
			if b.Offset%p.size != 0 {
				return nil, domain.Invalid("pagination.offset", "range", "must be a multiple of page_size (%d); or give page_number", p.size)
			}
			p.number = b.Offset/p.size + 1
		}
	case "cursor":
		var b cursorPage
		if err := d.decode("pagination", v, &b); err != nil {
			return nil, err
		}
		p.size = b.Limit
		return p, p.continues("pagination.cursor", b.Cursor)
	case "scroll":
		var b scrollPage
		if err := d.decode("pagination", v, &b); err != nil {
			return nil, err
		}
		p.size = b.Limit
		return p, p.continues("pagination.scroll_id", b.ScrollID)
	case "keyset":
		var b keysetPage
		if err := d.decode("pagination", v, &b); err != nil {
			return nil, err
		}
		p.size = b.Limit
		return p, p.keyset(b.After)
	default:
		return nil, domain.Invalid("pagination.method", "enum", "%q is not allowed; allowed are offset, cursor, keyset, scroll", method)
	}
	return p, nil
}

func guessMethod(m map[string]any) string {
	switch {
	case m["scroll_id"] != nil || m["scroll_ttl"] != nil:
		return "scroll"
	case m["after"] != nil:
		return "keyset"
	case m["cursor"] != nil:
		return "cursor"
	}
	return "offset"
}

func (p *page) continues(path, token string) error {
	if token == "" {
		return nil
	}
	c, ok := decodeCursor(token)
	if !ok {
		return domain.Invalid(path, "cursor", "is none that was given out; take it from the answer before, unchanged")
	}
	p.token = &c
	return nil
}

func (p *page) keyset(after any) error {
	if after == nil {
		return nil
	}
	m, ok := after.(map[string]any)
	id, isText := m["document_id"].(string)
	if !ok || !isText || id == "" {
		return domain.Invalid("pagination.after", "missing", "names the last document seen: {document_id}, as the answer before gave it")
	}
	p.after = id
	if token, ok := m["cursor"].(string); ok {
		return p.continues("pagination.after.cursor", token)
	}
	return nil
}

// pin gives the position to read at: a cursor's own where there is one, which must
// be of the same query and not ahead of now.
func (p *page) pin(now uint64, digest string) (uint64, error) {
	if p.token == nil {
		return now, nil
	}
	if p.token.digest != digest {
		return 0, domain.Invalid("pagination", "cursor", "the cursor belongs to another query: retriever, inputs or filters are not those of the page before; begin again without it")
	}
	if p.token.position > now {
		return 0, domain.Invalid("pagination", "cursor", "the cursor is of position %d, which this namespace has not reached", p.token.position)
	}
	return p.token.position, nil
}

// cut gives the page's items and the index of its first.
func (p *page) cut(items []*item) (from int, cut []*item, err error) {
	switch {
	case p.method == "offset":
		from = (p.number - 1) * p.size
	case p.method == "keyset" && p.after != "":
		from = slices.IndexFunc(items, func(it *item) bool { return it.id == p.after }) + 1
		if from == 0 {
			return 0, nil, domain.Invalid("pagination.after.document_id", "unknown", "the document %q is not in this result; give after back whole, as the answer before gave it", p.after)
		}
	case p.token != nil:
		from = int(p.token.offset)
	}
	from = min(max(from, 0), len(items))
	return from, items[from:min(from+p.size, len(items))], nil
}

// answer is the pagination of the answer.
func (p *page) answer(out *outcome, position uint64, digest string) map[string]any {
	more := out.after != nil
	m := map[string]any{"method": p.method, "returned": len(out.items), "total": out.total, "has_next": more}
	next := cursor{position: position, digest: digest, offset: uint64(out.from + len(out.items))}
	switch p.method {
	case "offset":
		m["page_size"], m["page_number"] = p.size, p.number
		m["total_pages"] = (out.total + p.size - 1) / p.size
	case "cursor":
		m["limit"], m["cursor"], m["next_cursor"] = p.size, nil, nil
		if more {
			m["cursor"] = next.encode()
			m["next_cursor"] = m["cursor"]
		}
	case "keyset":
		m["limit"], m["after"] = p.size, nil
		if more {
			m["after"] = map[string]any{"score": out.after.score, "document_id": out.after.id, "cursor": next.encode()}
		}
	case "scroll":
		m["limit"], m["scroll_id"] = p.size, nil
		if more {
			m["scroll_id"] = next.encode()
		}
	default:
		m["method"], m["limit"] = "limit", p.size
	}
	return m
}

// encode is the page as records keep it.
func (p *page) encode() json.RawMessage {
	m := map[string]any{"method": p.method, "limit": number(p.size)}
	if p.method == "offset" {
		m = map[string]any{"method": p.method, "page_size": number(p.size), "page_number": number(p.number)}
	}
	token := any(nil)
	if p.token != nil {
		token = p.token.encode()
	}
	switch {
	case p.method == "" || p.method == "limit":
		m["method"] = "limit"
	case p.method == "keyset" && p.after != "":
		after := map[string]any{"document_id": p.after}
		if token != nil {
			after["cursor"] = token
		}
		m["after"] = after
	case p.method == "cursor" && token != nil:
		m["cursor"] = token
	case p.method == "scroll" && token != nil:
		m["scroll_id"] = token
	}
	return domain.EncodeValue(m)
}

// decodePage is the inverse of encode.
func decodePage(raw json.RawMessage) (*page, error) {
	var limited struct {
		Method string `json:"method"`
		Limit  int    `json:"limit"`
	}
	if json.Unmarshal(raw, &limited) == nil && limited.Method == "limit" {
		return &page{method: "limit", size: limited.Limit}, nil
	}
	return parsePage(raw, 0)
}

// cursor is where a result goes on: at which position of the log it was made, of
// which query, and after how many results. Its text is base64url of a version
// byte, two uvarints (position, offset), eight bytes of the digest, and a CRC-32.
type cursor struct {
	position, offset uint64
	digest           string
}

const cursorVersion = 1

func (c cursor) encode() string {
	b := []byte{cursorVersion}
	b = binary.AppendUvarint(b, c.position)
	b = binary.AppendUvarint(b, c.offset)
	d, _ := hex.DecodeString(c.digest)
	b = append(b, d...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeCursor(s string) (cursor, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < 15 || b[0] != cursorVersion {
		return cursor{}, false
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return cursor{}, false
	}
	body = body[1:]
	var c cursor
	for _, to := range [...]*uint64{&c.position, &c.offset} {
		n, used := binary.Uvarint(body)
		if used <= 0 || n > 1<<62 {
			return cursor{}, false
		}
		*to, body = n, body[used:]
	}
	if len(body) != 8 || c.offset > 1<<30 {
		return cursor{}, false
	}
	c.digest = hex.EncodeToString(body)
	return c, true
}
