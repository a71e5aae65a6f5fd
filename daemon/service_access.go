package daemon

import (
	"context"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/state"
)

// accessService is the API's AccessService.
type accessService struct {
	clonedv1.UnimplementedAccessServiceServer
	tokens *auth.Tokens
}

func (s *accessService) WhoAmI(ctx context.Context, _ *clonedv1.WhoAmIRequest) (*clonedv1.WhoAmIResponse, error) {
	p, ok := auth.From(ctx)
	if !ok {
		return nil, errs.New(errs.Internal, "NO_PRINCIPAL", "the call has no principal")
	}
	return &clonedv1.WhoAmIResponse{
		Principal: p.Name, Role: clonedv1.Role(p.Role), Goldens: p.Goldens, Limits: limitsToProto(p.Limits),
	}, nil
}

func (s *accessService) CreateToken(ctx context.Context, req *clonedv1.CreateTokenRequest) (*clonedv1.CreateTokenResponse, error) {
	by, _ := auth.From(ctx)
	secret, token, err := s.tokens.Create(by.Name, auth.TokenRequest{
		Name: req.GetName(), Role: auth.Role(req.GetRole()), Goldens: req.GetGoldens(),
		Limits: limitsFromProto(req.GetLimits()), TTL: req.GetTtl().AsDuration(),
	})
	if err != nil {
		return nil, err
	}
	return &clonedv1.CreateTokenResponse{Secret: secret, Token: tokenToProto(token)}, nil
}

func (s *accessService) ListTokens(context.Context, *clonedv1.ListTokensRequest) (*clonedv1.ListTokensResponse, error) {
	resp := &clonedv1.ListTokensResponse{}
	for _, t := range s.tokens.List() {
		resp.Tokens = append(resp.Tokens, tokenToProto(t))
	}
	return resp, nil
}

func (s *accessService) DeleteToken(_ context.Context, req *clonedv1.DeleteTokenRequest) (*clonedv1.DeleteTokenResponse, error) {
	return &clonedv1.DeleteTokenResponse{}, s.tokens.Delete(req.GetName())
}

func tokenToProto(t state.Token) *clonedv1.Token {
	role, err := auth.ParseRole(t.Role)
	if err != nil { // of a newer version: then nobody comes in with it
		role = auth.NoRole
	}
	return &clonedv1.Token{
		Id: t.ID, Name: t.Name, Role: clonedv1.Role(role), Goldens: t.Goldens, Limits: limitsToProto(t.Limits),
		CreateTime: timestamppb.New(t.Created), CreatedBy: t.CreatedBy, ExpireTime: optionalTime(t.Expires),
	}
}

func limitsFromProto(l *clonedv1.Limits) state.Limits {
	return state.Limits{
		Clones: int(l.GetClones()), MemoryBytes: l.GetMemoryBytes(), DiskBytes: l.GetDiskBytes(),
		MaxTTL: l.GetMaxTtl().AsDuration(), RequestsPerMinute: int(l.GetRequestsPerMinute()),
	}
}

// limitsToProto returns nil for no limits.
func limitsToProto(l state.Limits) *clonedv1.Limits {
	if l == (state.Limits{}) {
		return nil
	}
	msg := &clonedv1.Limits{
		Clones: int32(l.Clones), MemoryBytes: l.MemoryBytes, DiskBytes: l.DiskBytes, RequestsPerMinute: int32(l.RequestsPerMinute),
	}
	if l.MaxTTL > 0 {
		msg.MaxTtl = durationpb.New(l.MaxTTL)
	}
	return msg
}
