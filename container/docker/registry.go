package docker

import (
	"os"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config"
	"github.com/docker/docker/api/types/registry"

	"github.com/cloned-db/cloned/errs"
)

// officialRegistry is the name that the Docker configuration has for docker.io.
const officialRegistry = "https://index.docker.io/v1/"

// registryAuth is what the registry of an image gets to see, from the Docker
// configuration of the daemon's user as "docker login" writes it ($DOCKER_CONFIG,
// else ~/.docker): there, and with the credential helpers that it names, is the one
// place for such credentials. "" if there are none.
func registryAuth(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", errs.New(errs.Invalid, "INVALID_IMAGE", "image %q: %w", ref, err)
	}
	host := reference.Domain(named)
	if host == "docker.io" {
		host = officialRegistry
	}
	file, err := config.Load(os.Getenv("DOCKER_CONFIG")) // "" is the default
	if err != nil {
		return "", credentialsError(host, err)
	}
	auth, err := file.GetAuthConfig(host)
	if err != nil {
		return "", credentialsError(host, err)
	}
	if auth.Username == "" && auth.Auth == "" && auth.IdentityToken == "" && auth.RegistryToken == "" {
		return "", nil
	}
	return registry.EncodeAuthConfig(registry.AuthConfig{
		Username: auth.Username, Password: auth.Password, Auth: auth.Auth,
		ServerAddress: auth.ServerAddress, IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
	})
}

// credentialsError does not have the cause's text: it may quote the file.
func credentialsError(host string, _ error) error {
	return errs.New(errs.Precondition, "REGISTRY_CREDENTIALS", "the credentials for %s can't be read from the Docker configuration of the daemon's user", host).
		WithHint("see to $DOCKER_CONFIG or ~/.docker/config.json; docker login writes it")
}
