package commands

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"strings"
)

// KeyPrefix begins every API key that Varve makes.
const KeyPrefix = "sk_live_"

// publicLength is the length of a key's public part: KeyPrefix and 8 characters.
const publicLength = len(KeyPrefix) + 8

// KeyRing makes API keys and hashes them under the server's pepper.
type KeyRing struct {
	Pepper []byte    // 32 bytes, kept outside the log
	Random io.Reader // crypto/rand in production
}

// Mint makes a key of 256 random bits and gives it with its public prefix and
// its hash. The key itself is kept nowhere.
func (k *KeyRing) Mint() (key, prefix, hash string, err error) {
	var b [32]byte
	if _, err := io.ReadFull(k.Random, b[:]); err != nil {
		return "", "", "", fmt.Errorf("read random bytes for a key: %w", err)
	}
	body := new(big.Int).SetBytes(b[:]).Text(62)
	key = KeyPrefix + strings.Repeat("0", 43-len(body)) + body
	return key, key[:publicLength], k.Hash(key), nil
}

// Hash is hex HMAC-SHA256 of a whole key under the pepper.
func (k *KeyRing) Hash(key string) string {
	m := hmac.New(sha256.New, k.Pepper)
	io.WriteString(m, key)
	return hex.EncodeToString(m.Sum(nil))
}

// PublicPrefix is the part of a key that finds it, "" for what cannot be a key.
func PublicPrefix(key string) string {
	if len(key) < publicLength {
		return ""
	}
	return key[:publicLength]
}
