package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Signed checkpoints that were kept elsewhere show what a bare chain cannot: that a
// directory was replaced by an older backup, and that other records took the places
// of the lost ones.
func TestSignedCheckpoints(t *testing.T) {
	root := t.TempDir()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	half, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		name = filepath.Join(root, name)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	keys := map[string][2]string{
		"ed25519": {write("private", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})), write("public", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: half}))},
		"hmac":    {write("secret", []byte(strings.Repeat("s", 40))), write("secret", []byte(strings.Repeat("s", 40)))},
	}
	short, other := write("short", []byte("short")), write("other", []byte(strings.Repeat("o", 40)))
	data, backup := filepath.Join(root, "data"), filepath.Join(root, "backup")
	server := start(t, data)
	setUpFiles(t, server)
	server.stop(t)
	if err := os.CopyFS(backup, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	objects := func(data string, names ...string) {
		again := start(t, data)
		again.Key = server.Key
		for _, name := range names {
			again.must(t, "POST", "/v1/buckets/files/objects", map[string]any{"name": name})
		}
		again.stop(t)
	}
	objects(data, "one", "two")
	says := func(data, signed, key, want string) {
		t.Helper()
		out, errs, code := varve(t, "log", "verify", "--data", data, "--checkpoints", signed, "--signed-by", key)
		if (code == 0) != (want == "") || !strings.Contains(errs, want) || code != 0 && strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, %q does not say %q (%s)", filepath.Base(data), code, errs, want, out)
		}
	}
	for name, k := range keys {
		signed := filepath.Join(root, name+".json")
		if out, errs, code := varve(t, "log", "sign", "--data", data, "--key", k[0], "--out", signed); code != 0 || !strings.Contains(out, "2 logs are signed") {
			t.Fatalf("status %d: %s%s", code, out, errs)
		}
		says(data, signed, k[1], "")
		says(data, signed, other, "signature is not valid")
		says(data, signed, short, "openssl genpkey")
		says(backup, signed, k[1], "newest records are missing")
	}
	objects(backup, "three", "four", "five")
	for name, k := range keys {
		says(backup, filepath.Join(root, name+".json"), k[1], "written anew")
	}
	if _, errs, code := varve(t, "log", "verify", "--data", backup); code != 0 {
		t.Errorf("a bare chain cannot know: %s", errs)
	}
	if _, errs, code := varve(t, "log", "sign", "--data", filepath.Join(root, "none"), "--key", keys["hmac"][0]); code != 1 || !strings.Contains(errs, "holds no log") {
		t.Errorf("status %d, %q", code, errs)
	}
}
