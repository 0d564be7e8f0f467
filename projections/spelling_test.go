package projections

import "testing"

func TestSpelling(t *testing.T) {
	s := spell("x_g1", append([]string{`CREATE TABLE IF NOT EXISTS documents (a TEXT NOT NULL)`, `CREATE TABLE IF NOT EXISTS documents_data (a)`}, bookkeeping...))
	for text, want := range map[string]string{
		documentColumns + `WHERE log = ? AND a = '?'`:                                                            `SELECT document_id, valid_from, valid_to, version, created, updated, data FROM x_g1.documents JOIN x_g1.documents_data ON x_g1.documents_data.row = documents.row WHERE log = $1 AND a = '?'`,
		`INSERT OR ROLLBACK INTO documents (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET a = documents.a || '?'`: `INSERT INTO x_g1.documents (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET a = documents.a || '?'`,
		`UPDATE OR ROLLBACK documents SET a = ? WHERE b = ?`:                                                     `UPDATE x_g1.documents SET a = $1 WHERE b = $2`,
		`DELETE FROM varve_parked WHERE shard = $1`:                                                              `DELETE FROM x_g1.varve_parked WHERE shard = $1`,
		`SELECT 1 FROM documents_other`:                                                                          `SELECT 1 FROM documents_other`,
	} {
		if have := s.text(text); have != want {
			t.Errorf("%s\n\tis %s\n\twant %s", text, have, want)
		}
	}
	for statement, want := range map[string]string{
		`CREATE TABLE IF NOT EXISTS documents (a TEXT NOT NULL, row INTEGER NOT NULL PRIMARY KEY)`:      `CREATE TABLE IF NOT EXISTS x_g1.documents (a TEXT COLLATE "C" NOT NULL, row BIGINT NOT NULL PRIMARY KEY)`,
		`CREATE INDEX IF NOT EXISTS documents_a ON documents (log, valid_from, valid_to) WHERE a <> ''`: `CREATE INDEX IF NOT EXISTS documents_a ON x_g1.documents (log, valid_from) WHERE a <> ''`,
	} {
		if have := s.definition(statement); have != want {
			t.Errorf("%s\n\tis %s\n\twant %s", statement, have, want)
		}
	}
}
