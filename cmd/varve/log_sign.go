package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"varve/cmd/varve/serve"
	"varve/eventstore"
)

type signCmd struct {
	Data  string `help:"What to sign: a directory, or postgres://user@host/database." required:"" env:"VARVE_DATA"`
	Blobs string `help:"Where its blobs are: a directory, or s3://bucket; empty: in the directory." env:"VARVE_BLOBS"`
	Key   string `help:"File of an Ed25519 private key (openssl genpkey -algorithm ed25519), or of at least 32 secret bytes." required:"" type:"existingfile"`
	Out   string `help:"File to write; empty: print." type:"path"`
}

// Run writes one signed checkpoint for every log, as JSON.
func (c signCmd) Run(ctx context.Context, o output) error {
	key, err := readCheckpointKey(c.Key)
	if err != nil {
		return err
	}
	signed, err := serve.Sign(ctx, serve.Place{Store: c.Data, Blobs: c.Blobs}, key)
	if err != nil {
		return fmt.Errorf("log sign: %w", err)
	}
	if c.Out == "" {
		o.json = true
		return o.print(signed, nil)
	}
	b, err := json.MarshalIndent(signed, "", "  ")
	if err != nil {
		return fmt.Errorf("log sign: %w", err)
	}
	if err := os.WriteFile(c.Out, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("log sign: %w", err)
	}
	return o.print(map[string]any{"logs": len(signed), "file": c.Out}, func(w io.Writer) {
		fmt.Fprintf(w, "%d logs are signed in %s: keep it where whoever can change the store cannot\n", len(signed), c.Out)
	})
}

// checkpoints reads what verify was given to hold against the store.
func (c verifyCmd) checkpoints() (signed []eventstore.Checkpoint, key eventstore.CheckpointKey, err error) {
	if c.Checkpoints == "" {
		return nil, key, nil
	}
	if c.SignedBy == "" {
		return nil, key, errors.New("--checkpoints needs --signed-by, the key that signed them")
	}
	b, err := os.ReadFile(c.Checkpoints)
	if err != nil {
		return nil, key, err
	}
	if err := json.Unmarshal(b, &signed); err != nil {
		return nil, key, fmt.Errorf("%s holds no checkpoints as log sign writes them: %w", c.Checkpoints, err)
	}
	key, err = readCheckpointKey(c.SignedBy)
	return signed, key, err
}

// readCheckpointKey reads an Ed25519 key in PEM, or takes the file's bytes for a secret.
func readCheckpointKey(file string) (key eventstore.CheckpointKey, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return key, err
	}
	wrong := fmt.Errorf("%s is no Ed25519 key in PEM and no secret of at least 32 bytes: make one with openssl genpkey -algorithm ed25519 -out FILE", file)
	block, _ := pem.Decode(b)
	if block == nil {
		if len(b) < 32 {
			return key, wrong
		}
		key.HMAC = b
		sum := sha256.Sum256(append([]byte("varve checkpoint key id\n"), b...))
		key.ID = hex.EncodeToString(sum[:8])
		return key, nil
	}
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		private, ok := parsed.(ed25519.PrivateKey)
		if err != nil || !ok {
			return key, wrong
		}
		key.Private = private
		key.Public, _ = private.Public().(ed25519.PublicKey)
	case "PUBLIC KEY":
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		public, ok := parsed.(ed25519.PublicKey)
		if err != nil || !ok {
			return key, wrong
		}
		key.Public = public
	default:
		return key, wrong
	}
	sum := sha256.Sum256(key.Public)
	key.ID = hex.EncodeToString(sum[:8])
	return key, nil
}
