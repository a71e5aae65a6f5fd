package control

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"

	"github.com/cloned-db/cloned/internal/secret"
	"github.com/cloned-db/cloned/state"
)

// password derives a clone's own password from the installation's key, so that
// it need not be stored: HMAC-SHA256 of the clone's ID, URL-safe.
func (p *Plane) password(clone string) secret.Text {
	mac := hmac.New(sha256.New, p.cfg.Key)
	mac.Write([]byte(clone)) // a hash's Write does not fail
	return secret.Text(base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
}

// Endpoint says how a user reaches the clone, with its password if the caller is
// given that. It is empty if the clone's golden is not known.
func (p *Plane) Endpoint(ctx context.Context, c state.Clone) Endpoint {
	g := c.Generation
	if g == 0 {
		g = c.Next
	}
	l, err := p.launch(c, g, "")
	if err != nil {
		return Endpoint{}
	}
	t := l.target
	if !caller(ctx).reveals(c) {
		t.Password = ""
	}
	return Endpoint{
		Addr: t.Addr, Port: t.Port, Role: t.Role, Password: t.Password,
		Database: t.Database, URL: secret.Text(l.engine.ConnectionURL(t)),
	}
}
