package authtest

import (
	"net/http"
	"strings"
)

// GitHub returns the claims of a job of GitHub Actions.
func GitHub(repository, ref string) map[string]any {
	owner, _, _ := strings.Cut(repository, "/")
	return map[string]any{
		"sub":        "repo:" + repository + ":ref:" + ref,
		"repository": repository, "repository_owner": owner, "repository_id": "4711", "repository_visibility": "private",
		"ref": ref, "ref_type": "branch", "ref_protected": "false", "event_name": "push", "actor": "alice", "run_id": "17",
		"workflow": "test", "job_workflow_ref": repository + "/.github/workflows/test.yml@" + ref, "runner_environment": "self-hosted",
	}
}

// GitLab returns the claims of a job of GitLab CI.
func GitLab(project, branch string) map[string]any {
	namespace, _, _ := strings.Cut(project, "/")
	return map[string]any{
		"sub":          "project_path:" + project + ":ref_type:branch:ref:" + branch,
		"project_path": project, "namespace_path": namespace, "project_id": "42", "user_login": "alice", "user_access_level": "developer",
		"ref": branch, "ref_type": "branch", "ref_protected": "true", "pipeline_source": "push", "pipeline_id": "212", "job_id": "1212",
		"environment": "review", "groups_direct": []string{"acme"},
	}
}

// RequestURL gives jobs of GitHub Actions their tokens, of which each has these
// claims: it is their $ACTIONS_ID_TOKEN_REQUEST_URL.
func (i *Issuer) RequestURL(job map[string]any) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.job = job
	return i.URL + "/token?api-version=2.0"
}

// Given is how many tokens jobs have got.
func (i *Issuer) Given() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.given
}

func (i *Issuer) serveToken(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if r.Header.Get("Authorization") != "Bearer "+RequestToken || query.Get("api-version") != "2.0" {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	i.mu.Lock()
	i.given++
	claims := map[string]any{"aud": query.Get("audience")}
	for name, value := range i.job {
		claims[name] = value
	}
	i.mu.Unlock()
	i.answer(w, map[string]string{"value": i.Token(claims)})
}
