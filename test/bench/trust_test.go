package bench

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

const (
	refusals = 200
	tokens   = 1000
	// trustBound is the most that telling who calls and noting it may add, in ms.
	trustBound = 2
)

// trust measures a create by a token that is refused because there is no such
// golden: all that it takes is the way to the daemon and back, to tell who calls,
// and to note it in the audit log. Then the same with very many tokens, each of
// which has left a line there.
func (b *bench) trust() {
	b.t.Helper()
	access := clonedv1.NewAccessServiceClient(b.e.Dial())
	token := func(name string) string {
		resp, err := access.CreateToken(b.t.Context(), &clonedv1.CreateTokenRequest{Name: name, Role: clonedv1.Role_ROLE_USER})
		b.check(err)
		return resp.Secret
	}
	ctx := metadata.AppendToOutgoingContext(b.t.Context(), "authorization", "Bearer "+token("bench"))
	few := b.refused(ctx)
	b.rows.within(trustBound, b.env+"/refused_create", few, nil)
	for i := range tokens {
		token(fmt.Sprintf("bench-%d", i))
	}
	b.rows.within(1.25, fmt.Sprintf("%s/refused_create/with_%d_tokens", b.env, tokens), b.refused(ctx), few)
}

func (b *bench) refused(ctx context.Context) []time.Duration {
	b.t.Helper()
	var took []time.Duration
	for range refusals {
		took = append(took, b.took(func() error {
			_, err := b.api.CreateClone(ctx, &clonedv1.CreateCloneRequest{Name: "refused", Golden: "nowhere"})
			if status.Code(err) != codes.NotFound {
				return fmt.Errorf("a create of a golden that is not there: %w", err)
			}
			return nil
		}))
	}
	return took
}
