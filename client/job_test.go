package client

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/auth/authtest"
	"github.com/cloned-db/cloned/errs"
)

// job is this program in a job of the issuer's platform.
func job(t *testing.T, i *authtest.Issuer, claims map[string]any) *jobToken {
	t.Helper()
	t.Setenv(envJobURL, i.RequestURL(claims))
	t.Setenv(envJobSecret, authtest.RequestToken)
	j := newJobToken("cloned-test")
	j.client.Transport = i.Transport()
	return j
}

func TestJobToken(t *testing.T) {
	i := authtest.NewIssuer(t)
	j := job(t, i, authtest.GitHub("acme/shop", "refs/heads/main"))
	first, err := j.get()
	if err != nil {
		t.Fatal(err)
	}
	claims := i.Claims(first)
	if claims["aud"] != "cloned-test" || claims["repository"] != "acme/shop" {
		t.Errorf("got %v", claims)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if again, err := j.get(); err != nil || again != first {
				t.Errorf("another token, %v", err)
			}
		})
	}
	wg.Wait()
	if i.Given() != 1 {
		t.Errorf("%d tokens were asked for", i.Given())
	}
	// Near its end it is replaced.
	j.until = time.Now().Add(jobMargin - time.Second)
	if _, err := j.get(); err != nil || i.Given() != 2 {
		t.Errorf("%v, %d tokens", err, i.Given())
	}
}

func TestJobTokenFails(t *testing.T) {
	i := authtest.NewIssuer(t)
	claims := authtest.GitHub("acme/shop", "refs/heads/main")
	for name, c := range map[string]struct {
		url, secret string
		down        bool
		kind        errs.Kind
	}{
		"no job":             {"", "", false, errs.Precondition},
		"without permission": {i.RequestURL(claims), "", false, errs.Precondition},
		"in the clear":       {strings.Replace(i.RequestURL(claims), "https", "http", 1), authtest.RequestToken, false, errs.Precondition},
		"another's secret":   {i.RequestURL(claims), "stolen-secret", false, errs.Denied},
		"no answer":          {i.URL + "/keys", authtest.RequestToken, false, errs.Unavailable},
		"down":               {i.RequestURL(claims), authtest.RequestToken, true, errs.Unavailable},
		"nobody there":       {"https://127.0.0.1:1/", authtest.RequestToken, false, errs.Unavailable},
	} {
		i.SetDown(c.down)
		j := job(t, i, claims)
		t.Setenv(envJobURL, c.url)
		t.Setenv(envJobSecret, c.secret)
		_, err := j.get()
		if !errs.Is(err, c.kind) || c.secret != "" && strings.Contains(err.Error(), c.secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEndOf(t *testing.T) {
	for _, token := range []string{"", "a.b", "a.b.c", "a.e30.c"} {
		if end := endOf(token); time.Until(end) > 0 {
			t.Errorf("%q is good until %s", token, end)
		}
	}
}
