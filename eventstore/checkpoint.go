package eventstore

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"time"
)

// Checkpoint states what a log's hash was at a position. Signed and kept
// elsewhere, it shows what a bare chain cannot: that the newest records are
// missing, or that the whole log was written anew.
type Checkpoint struct {
	Log       LogID     `json:"log"`
	Position  uint64    `json:"position"`
	Hash      Hash      `json:"hash"`
	Time      time.Time `json:"time"` // of the record at Position
	KeyID     string    `json:"key_id"`
	Algorithm string    `json:"algorithm"` // "ed25519" or "hmac-sha256"
	Signature []byte    `json:"signature"`
}

// CheckpointKey signs and verifies: either Private (and Public), Public alone
// for verifying, or HMAC of at least 32 bytes.
type CheckpointKey struct {
	ID      string
	Private ed25519.PrivateKey
	Public  ed25519.PublicKey
	HMAC    []byte
}

// What is wrong with a checkpoint or with the log that it is held against.
const (
	ErrBadSignature = storeError("the checkpoint's signature is not valid under this key")
	ErrTailCut      = storeError("the log ends before the checkpoint: its newest records are missing")
	ErrRewritten    = storeError("the log has another hash at the checkpoint: it was written anew")
)

// MarshalText is the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (h *Hash) UnmarshalText(b []byte) error {
	parsed, err := ParseHash(string(b))
	if err == nil {
		*h = parsed
	}
	return err
}

// MakeCheckpoint signs the log's newest position.
func MakeCheckpoint(ctx context.Context, s Follower, log LogID, key CheckpointKey) (Checkpoint, error) {
	head, err := s.LogHead(ctx, log)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("make checkpoint: %w", err)
	}
	if !head.Exists || head.Position == 0 {
		return Checkpoint{}, fmt.Errorf("make checkpoint: log %q has no records", log)
	}
	return SignCheckpoint(Checkpoint{Log: log, Position: head.Position, Hash: head.Hash, Time: head.Time}, key)
}

// SignCheckpoint fills in key id, algorithm and signature.
func SignCheckpoint(c Checkpoint, key CheckpointKey) (Checkpoint, error) {
	c.KeyID = key.ID
	switch {
	case len(key.Private) == ed25519.PrivateKeySize:
		c.Algorithm = "ed25519"
		c.Signature = ed25519.Sign(key.Private, c.message())
	case len(key.HMAC) >= 32:
		c.Algorithm = "hmac-sha256"
		c.Signature = c.mac(key.HMAC)
	default:
		return Checkpoint{}, fmt.Errorf("sign checkpoint: the key must be an ed25519 private key or at least 32 bytes for HMAC")
	}
	return c, nil
}

// VerifySignature says whether the key made the signature: nil or ErrBadSignature.
func (c Checkpoint) VerifySignature(key CheckpointKey) error {
	ok := false
	switch c.Algorithm {
	case "ed25519":
		public := key.Public
		if len(public) == 0 && len(key.Private) == ed25519.PrivateKeySize {
			public = key.Private.Public().(ed25519.PublicKey)
		}
		ok = len(public) == ed25519.PublicKeySize && ed25519.Verify(public, c.message(), c.Signature)
	case "hmac-sha256":
		ok = len(key.HMAC) >= 32 && hmac.Equal(c.Signature, c.mac(key.HMAC))
	}
	if !ok {
		return ErrBadSignature
	}
	return nil
}

// VerifyCheckpoint checks the signature and that the log has the stated hash at
// the stated position. It does not recompute the chain up to there: Verify does.
func VerifyCheckpoint(ctx context.Context, s Store, c Checkpoint, key CheckpointKey) error {
	if err := c.VerifySignature(key); err != nil {
		return err
	}
	if c.Position == 0 {
		return nil
	}
	for r, err := range s.Read(ctx, c.Log, c.Position-1, 1) {
		if err != nil {
			return fmt.Errorf("verify checkpoint: %w", err)
		}
		switch {
		case r.Position != c.Position:
			return fmt.Errorf("verify checkpoint: position %d was removed by retention", c.Position)
		case r.Hash != c.Hash:
			return ErrRewritten
		}
		return nil
	}
	return ErrTailCut
}

// message is what is signed: every field that states something, each preceded
// by its length.
func (c Checkpoint) message() []byte {
	b := appendField(nil, "varve.checkpoint.1")
	b = appendField(b, c.Log)
	b = appendNumber(b, c.Position)
	b = appendField(b, c.Hash[:])
	b = appendNumber(b, uint64(c.Time.UnixMicro()))
	b = appendField(b, c.KeyID)
	return appendField(b, c.Algorithm)
}

func (c Checkpoint) mac(key []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(c.message())
	return m.Sum(nil)
}
