package commands

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"varve/domain"
)

// tlsOfBrokers trusts what the system trusts.
var tlsOfBrokers = &tls.Config{MinVersion: tls.VersionTLS12}

// seal encrypts a password for the log, so that it is readable where the
// server's secret is: AES-256-GCM under Secret, bound to the topic, as base64 of nonce and ciphertext.
func (t *Topics) seal(topicID, password string) (string, error) {
	if password == "" {
		return "", nil
	}
	if len(t.Secret) == 0 {
		return "", domain.Errorf(domain.CodeUnsupported, "this server has no secret to keep passwords of brokers under")
	}
	box, err := t.box()
	if err != nil {
		return "", err
	}
	nonce := make([]byte, box.NonceSize())
	if _, err := io.ReadFull(t.Random, nonce); err != nil {
		return "", fmt.Errorf("seal password of topic %s: %w", topicID, err)
	}
	return base64.StdEncoding.EncodeToString(box.Seal(nonce, nonce, []byte(password), []byte("topic\x00"+topicID))), nil
}

func (t *Topics) unseal(topicID, sealed string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(sealed)
	box, boxErr := t.box()
	if err = errors.Join(err, boxErr); err == nil && len(raw) < box.NonceSize() {
		err = errors.New("it is cut off")
	}
	var password []byte
	if err == nil {
		password, err = box.Open(nil, raw[:box.NonceSize()], raw[box.NonceSize():], []byte("topic\x00"+topicID))
	}
	if err != nil {
		return "", fmt.Errorf("unseal password of topic %s: %w (was the server's secret changed? set the password again)", topicID, err)
	}
	return string(password), nil
}

func (t *Topics) box() (cipher.AEAD, error) {
	block, err := aes.NewCipher(t.Secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
