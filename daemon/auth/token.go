package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// Tokens are our own bearer tokens: cloned_<id>_<secret>. The secret has 256
// random bits, so that its plain digest tells nothing of it.
type Tokens struct {
	store *state.Store
	now   func() time.Time

	mu sync.Mutex
	// live has, by ID, what ends with each token that was shown since the start.
	live map[string]proof
}

type proof struct {
	ctx context.Context
	end context.CancelFunc
}

// NewTokens returns the tokens of a store.
func NewTokens(store *state.Store) *Tokens {
	return &Tokens{store: store, now: time.Now, live: map[string]proof{}}
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Name    string
	Role    Role
	Goldens []string
	Limits  state.Limits
	// TTL is how long it is good; 0 for as long as it is there.
	TTL time.Duration
}

var (
	tokenAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
	isTokenName   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`).MatchString
)

// random returns n random bytes as text. crypto/rand.Read does not fail.
func random(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw)
	return tokenAlphabet.EncodeToString(raw)
}

// Create makes a token on behalf of the principal and returns it, for the only
// time, with its record. errs.Exists if there is one of that name, even if it
// has expired.
func (t *Tokens) Create(by string, req TokenRequest) (token string, record state.Token, err error) {
	switch l := req.Limits; {
	case !isTokenName(req.Name):
		return "", record, errs.Fieldf("name", "%q must be 1 to 63 of a-z, 0-9 and -, starting and ending with a letter or digit", req.Name)
	case req.Role < Viewer || req.Role > Admin:
		return "", record, errs.Fieldf("role", "must be one of viewer, user, operator, admin")
	case req.TTL < 0:
		return "", record, errs.Fieldf("ttl", "must not be negative")
	case min(int64(l.Clones), l.MemoryBytes, l.DiskBytes, int64(l.MaxTTL), int64(l.RequestsPerMinute)) < 0:
		return "", record, errs.Fieldf("limits", "must not be negative")
	}
	secret := random(sha256.Size)
	hash := sha256.Sum256([]byte(secret))
	record = state.Token{
		ID: random(8)[:10], Name: req.Name, Hash: hash[:], Role: req.Role.String(),
		Goldens: req.Goldens, Limits: req.Limits, Created: t.now().Round(0), CreatedBy: by,
	}
	if req.TTL > 0 {
		record.Expires = record.Created.Add(req.TTL)
	}
	err = t.store.Update(func(tx *state.Tx) error {
		for _, other := range tx.Tokens() {
			if other.Name == record.Name {
				return errs.New(errs.Exists, "NAME_TAKEN", "a token named %s exists", record.Name).
					WithHint("choose another name, or delete that one first: clonectl token rm %s", record.Name)
			}
		}
		tx.PutToken(&record)
		return nil
	})
	if err != nil {
		return "", state.Token{}, err
	}
	return TokenPrefix + record.ID + "_" + secret, record, nil
}

// List returns the tokens by name.
func (t *Tokens) List() []state.Token {
	all := t.store.View().Tokens()
	slices.SortFunc(all, func(a, b state.Token) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Delete deletes the token of the name: it opens nothing from then on, and
// streams that it opened end.
func (t *Tokens) Delete(name string) error {
	id := ""
	err := t.store.Update(func(tx *state.Tx) error {
		for _, token := range tx.Tokens() {
			if token.Name == name {
				id = token.ID
				tx.DropToken(id)
				return nil
			}
		}
		return errs.New(errs.NotFound, "TOKEN_NOT_FOUND", "there is no token %q", name).WithHint("clonectl token ls shows those there are")
	})
	if err != nil {
		return err
	}
	t.forget(id)
	return nil
}

// Verify implements Verifier. It takes as long with many tokens as with few.
func (t *Tokens) Verify(_ context.Context, token string) (Principal, error) {
	id, secret, _ := strings.Cut(strings.TrimPrefix(token, TokenPrefix), "_")
	record, known := t.store.View().Token(id)
	hash := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(hash[:], record.Hash) != 1 || !known {
		return Principal{}, Unauthenticated("there is no such token, or no longer").
			WithHint("ask the daemon's operator for another one")
	}
	if !record.Expires.IsZero() && !t.now().Before(record.Expires) {
		return Principal{}, Unauthenticated("token %s has expired on %s", record.Name, record.Expires.UTC().Format(time.DateTime)).
			WithHint("ask the daemon's operator for another one")
	}
	role, err := ParseRole(record.Role)
	if err != nil {
		return Principal{}, err
	}
	p := Principal{Name: "token:" + record.Name, Role: role, Goldens: record.Goldens, Limits: record.Limits, Proof: t.proof(record)}
	// Looked at again, for a deletion may have come in between: what it has not
	// ended is begun after it.
	if _, known := t.store.View().Token(id); !known {
		t.forget(id)
		return Principal{}, Unauthenticated("token %s was deleted", record.Name)
	}
	return p, nil
}

// proof returns what ends with the token.
func (t *Tokens) proof(record state.Token) context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.live[record.ID]
	if !ok {
		if record.Expires.IsZero() {
			p.ctx, p.end = context.WithCancel(context.Background())
		} else {
			p.ctx, p.end = context.WithDeadline(context.Background(), record.Expires)
		}
		t.live[record.ID] = p
	}
	return p.ctx
}

// forget ends what was begun with a token that is gone.
func (t *Tokens) forget(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p, ok := t.live[id]; ok {
		p.end()
		delete(t.live, id)
	}
}
