package projections

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// spelling writes the common texts as PostgreSQL wants them: tables are in a
// schema, and arguments numbered. What is rewritten is what the projections of
// this package write, not SQL in general.
type spelling struct {
	schema string
	tables *regexp.Regexp
	texts  sync.Map // common text → its spelling
}

var created = regexp.MustCompile(`^CREATE TABLE IF NOT EXISTS (\w+)`)

// spell is the spelling of tables that statements make, in a schema.
func spell(schema string, statements []string) *spelling {
	var names []string
	for _, s := range statements {
		if m := created.FindStringSubmatch(s); m != nil {
			names = append(names, m[1])
		}
	}
	return &spelling{schema: schema, tables: regexp.MustCompile(`\b(FROM|JOIN|INTO|UPDATE|EXISTS|ON)(\s+)(` + strings.Join(names, "|") + `)\b`)}
}

func (s *spelling) text(text string) string {
	if t, ok := s.texts.Load(text); ok {
		return t.(string)
	}
	t := numbered(s.qualified(strings.ReplaceAll(text, " OR ROLLBACK", "")))
	s.texts.Store(text, t)
	return t
}

func (s *spelling) qualified(text string) string {
	return s.tables.ReplaceAllString(text, `${1}${2}`+s.schema+`.${3}`)
}

// numbered replaces each ? outside of quotes by $1, $2, ….
func numbered(text string) string {
	if !strings.Contains(text, "?") {
		return text
	}
	var b strings.Builder
	n, quoted := 0, false
	for i := range len(text) {
		switch c := text[i]; {
		case c == '?' && !quoted:
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		default:
			quoted = quoted != (c == '\'')
			b.WriteByte(c)
		}
	}
	return b.String()
}

// definition spells a statement of Schema. Texts are compared by their bytes, as
// SQLite does. valid_to is left out of indexes, where SQLite has it to answer from
// the index alone: ending a version then changes no index, and the pages keep room for it.
func (s *spelling) definition(statement string) string {
	t := s.qualified(statement)
	if isIndex(statement) {
		return strings.ReplaceAll(t, ", valid_to", "")
	}
	t = strings.ReplaceAll(t, " TEXT ", ` TEXT COLLATE "C" `)
	t = strings.ReplaceAll(t, " INTEGER ", " BIGINT ")
	switch {
	case strings.Contains(t, "valid_to"):
		t += " WITH (fillfactor = 80)"
	case strings.Contains(t, "varve_checkpoint"):
		t += " WITH (fillfactor = 20)"
	}
	return t
}
