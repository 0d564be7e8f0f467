package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Ids are strings with the reference's prefixes. NewID makes one from 32 hex
// digits of entropy that the caller supplies, so that domain stays pure; DeriveID
// makes one from what identifies the thing, so that a repeated command names the same thing.

// Prefixes of ids, with the number of hex digits that follow.
const (
	OrganizationPrefix = "org_"
	TenantPrefix       = "int_"
	UserPrefix         = "usr_"
	KeyPrefix          = "key_"
	NamespacePrefix    = "ns_"
	BucketPrefix       = "bkt_"
	ObjectPrefix       = "obj_"
	BlobPrefix         = "blob_"
	BatchPrefix        = "btch_"
	CollectionPrefix   = "col_"
	DocumentPrefix     = "doc_"
	RetrieverPrefix    = "ret_"
	ExecutionPrefix    = "exec_"
	TaskPrefix         = "task_"
	TopicPrefix        = "top_"
)

var idLength = map[string]int{
	OrganizationPrefix: 16, TenantPrefix: 24, UserPrefix: 15, KeyPrefix: 16, NamespacePrefix: 10,
	BucketPrefix: 8, ObjectPrefix: 20, BlobPrefix: 16, BatchPrefix: 12, CollectionPrefix: 10,
	DocumentPrefix: 24, RetrieverPrefix: 14, ExecutionPrefix: 24, TaskPrefix: 24, TopicPrefix: 10,
}

// NewID makes an id from 16 random bytes.
func NewID(prefix string, entropy [16]byte) string {
	return prefix + hex.EncodeToString(entropy[:])[:idLength[prefix]]
}

// DeriveID makes an id from an ordered list of parts; equal parts give equal
// ids. The parts are joined as JSON, so that no two lists can be confused.
func DeriveID(prefix string, parts ...any) string {
	b, err := json.Marshal(parts)
	if err != nil {
		panic("derive id: parts must be JSON values: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return prefix + hex.EncodeToString(sum[:])[:idLength[prefix]]
}
