package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// EnvAudience is for jobs of GitHub Actions, and of what is made like it: for whom
// the job's identity token is to be made, which Dial then gets and shows the daemon.
const EnvAudience = "CLONED_AUDIENCE"

// Environment variables of a job that may ask for its identity token.
const (
	envJobURL    = "ACTIONS_ID_TOKEN_REQUEST_URL"
	envJobSecret = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
)

const (
	// jobAskFor is how long the platform may take to give a token.
	jobAskFor = 10 * time.Second
	// jobMargin is how long before its end a token is replaced.
	jobMargin = time.Minute
	// maxJobAnswer is more than any token.
	maxJobAnswer = 64 << 10
)

// jobToken is the identity token of the job that this program runs in. It is
// replaced before it ends, for a job may take longer.
type jobToken struct {
	audience string
	client   *http.Client

	mu    sync.Mutex
	token string
	until time.Time
}

func newJobToken(audience string) *jobToken {
	return &jobToken{audience: audience, client: &http.Client{
		Timeout: jobAskFor,
		// Whoever gets the request could ask for tokens too.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// get returns a token that is good for a while.
func (j *jobToken) get() (string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.token != "" && time.Until(j.until) > jobMargin {
		return j.token, nil
	}
	token, err := j.ask(os.Getenv(envJobURL), os.Getenv(envJobSecret))
	if err != nil {
		return "", err
	}
	j.token, j.until = token, endOf(token)
	return token, nil
}

func (j *jobToken) ask(from, secret string) (string, error) {
	u, err := url.Parse(from)
	if from == "" || secret == "" || err != nil || u.Scheme != "https" {
		return "", errs.New(errs.Precondition, "NO_JOB_IDENTITY", "%s is set, and this is no job that may ask for its identity token: %s or %s is missing", EnvAudience, envJobURL, envJobSecret).
			WithHint("give the job, in its workflow, permissions: {id-token: write}")
	}
	query := u.Query()
	query.Set("audience", j.audience)
	u.RawQuery = query.Encode()
	ctx, cancel := context.WithTimeout(context.Background(), jobAskFor)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", errs.New(errs.Precondition, "NO_JOB_IDENTITY", "%s: %w", envJobURL, err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := j.client.Do(req)
	if err != nil {
		return "", errs.New(errs.Unavailable, "JOB_IDENTITY", "asking for the job's identity token: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		kind := errs.Denied
		if resp.StatusCode >= http.StatusInternalServerError {
			kind = errs.Unavailable
		}
		return "", errs.New(kind, "JOB_IDENTITY", "asking %s for the job's identity token: %s", u.Host, resp.Status)
	}
	var answer struct{ Value string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxJobAnswer)).Decode(&answer); err != nil || answer.Value == "" {
		return "", errs.New(errs.Unavailable, "JOB_IDENTITY", "%s answers without an identity token", u.Host)
	}
	return answer.Value, nil
}

// endOf is the time until which a token is good, as it says itself; for one that
// does not say so it is over, and the next call takes another.
func endOf(token string) time.Time {
	var claims struct{ Exp float64 }
	parts := strings.Split(token, ".")
	if len(parts) == 3 {
		// What can't be read is left at zero.
		if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			_ = json.Unmarshal(payload, &claims)
		}
	}
	return time.Unix(int64(claims.Exp), 0)
}
