package state

import (
	"slices"
	"time"
)

// Token is what a program shows to say who it is. The secret part of it is not
// here, only its digest.
type Token struct {
	ID string `json:"id"`
	// Name is unique; the clones that it makes bear it.
	Name string `json:"name"`
	// Hash is the SHA-256 of the secret.
	Hash []byte `json:"hash"`
	Role string `json:"role"`
	// Goldens are those that it may use; empty for all.
	Goldens []string  `json:"goldens,omitempty"`
	Limits  Limits    `json:"limits,omitzero"`
	Created time.Time `json:"created"`
	// CreatedBy is the principal that made it.
	CreatedBy string `json:"created_by,omitempty"`
	// Expires is until when it is good; zero for as long as it is there.
	Expires  time.Time `json:"expires,omitzero"`
	Revision uint64    `json:"revision"`
}

// Limits bound what a principal may have at one time; 0 is no bound.
type Limits struct {
	Clones int `json:"clones,omitempty"`
	// MemoryBytes is the sum of its clones' memory limits.
	MemoryBytes int64 `json:"memory_bytes,omitempty"`
	// DiskBytes is each clone's quota.
	DiskBytes int64 `json:"disk_bytes,omitempty"`
	// MaxTTL is the longest life that it may ask for.
	MaxTTL time.Duration `json:"max_ttl,omitempty"`
	// RequestsPerMinute is how often it may ask for a change.
	RequestsPerMinute int `json:"requests_per_minute,omitempty"`
}

// copy shares no memory with t.
func (t Token) copy() Token {
	t.Hash = slices.Clone(t.Hash)
	t.Goldens = slices.Clone(t.Goldens)
	return t
}

// Token returns the token of the ID.
func (v *View) Token(id string) (Token, bool) {
	t, ok := v.tokens.Get(id)
	return t.copy(), ok
}

// Tokens returns all tokens, by ID.
func (v *View) Tokens() []Token {
	out := make([]Token, 0, v.tokens.Len())
	v.tokens.Scan(func(_ string, t Token) bool {
		out = append(out, t.copy())
		return true
	})
	return out
}

// PutToken writes a token.
func (t *Tx) PutToken(token *Token) {
	t.revision++
	token.Revision = t.revision
	t.tokens.Set(token.ID, token.copy())
	t.put(bucketTokens, []byte(token.ID), token)
}

// DropToken removes a token's record.
func (t *Tx) DropToken(id string) {
	t.revision++
	t.tokens.Delete(id)
	t.drop(bucketTokens, []byte(id))
}
