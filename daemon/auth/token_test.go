package auth

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

func openTokens(t testing.TB) *Tokens {
	t.Helper()
	store, err := state.Open(filepath.Join(t.TempDir(), "state.db"), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return NewTokens(store)
}

// TestSecrets: 256 random bits, never the same, and of the record only its digest.
func TestSecrets(t *testing.T) {
	tokens := openTokens(t)
	seen := map[string]bool{}
	for i := range 50 {
		token, record, err := tokens.Create("me", TokenRequest{Name: fmt.Sprint("n", i), Role: User})
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^cloned_[a-z2-7]{10}_[a-z2-7]{52}$`).MatchString(token) || seen[token] || seen[record.ID] {
			t.Errorf("got %s", token)
		}
		secret := token[len(token)-52:]
		seen[token], seen[record.ID] = true, true
		if strings.Contains(fmt.Sprintf("%+v %s", record, record.Hash), secret) || len(record.Hash) != 32 {
			t.Errorf("the record has the secret: %+v", record)
		}
	}
}

// TestConstantTime: secrets are compared by crypto/subtle, and by nothing else.
func TestConstantTime(t *testing.T) {
	source, err := os.ReadFile("token.go")
	if err != nil {
		t.Fatal(err)
	}
	text := string(source)
	if strings.Count(text, "subtle.ConstantTimeCompare(hash[:], record.Hash)") != 1 || strings.Count(text, "record.Hash") != 1 || strings.Contains(text, "bytes.") {
		t.Error("a secret is compared in another way")
	}
}

func TestBadRequests(t *testing.T) {
	tokens := openTokens(t)
	for field, req := range map[string]TokenRequest{
		"name":   {Name: "A b", Role: User},
		"role":   {Name: "a"},
		"ttl":    {Name: "a", Role: User, TTL: -1},
		"limits": {Name: "a", Role: User, Limits: state.Limits{Clones: -1}},
	} {
		if token, _, err := tokens.Create("me", req); !errs.Is(err, errs.Invalid) || errs.As(err).Field != field || token != "" {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestRoleOfTomorrow: a token whose role this version does not know opens nothing.
func TestRoleOfTomorrow(t *testing.T) {
	tokens := openTokens(t)
	token, record, err := tokens.Create("me", TokenRequest{Name: "a", Role: Admin})
	if err != nil {
		t.Fatal(err)
	}
	record.Role = "emperor"
	if err := tokens.store.Update(func(tx *state.Tx) error { tx.PutToken(&record); return nil }); err != nil {
		t.Fatal(err)
	}
	if p, err := tokens.Verify(t.Context(), token); err == nil {
		t.Errorf("is %v", p)
	}
}

// BenchmarkVerify shows that authentication takes microseconds, however many
// tokens there are.
func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprint(n, "tokens"), func(b *testing.B) {
			tokens := openTokens(b)
			token, _, err := tokens.Create("me", TokenRequest{Name: "a", Role: User})
			if err != nil {
				b.Fatal(err)
			}
			err = tokens.store.Update(func(tx *state.Tx) error {
				for i := range n - 1 {
					tx.PutToken(&state.Token{ID: random(8)[:10], Name: fmt.Sprint("n", i), Role: "user", Hash: make([]byte, 32)})
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := tokens.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
