package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

const (
	// scramIterations is PostgreSQL's own default, and the least that RFC 7677
	// allows. Our passwords are 256 random bits: more would only cost time.
	scramIterations = 4096
	scramSalt       = 16 // bytes, as PostgreSQL's
)

// verifier is what the server keeps of a password; "" for none.
type verifier struct {
	text string
	err  error
}

// verifierOf makes a verifier, which takes a millisecond, meanwhile.
func verifierOf(password string) <-chan verifier {
	made := make(chan verifier, 1)
	if password == "" {
		made <- verifier{}
		return made
	}
	go func() {
		text, err := scramVerifier(password)
		made <- verifier{text, err}
	}()
	return made
}

// scramVerifier returns what the server stores of a password, made here so that
// the password itself is never sent: SCRAM-SHA-256 of RFC 5803. The password
// must be printable ASCII, which SASLprep leaves as it is.
func scramVerifier(password string) (string, error) {
	for _, c := range []byte(password) {
		if c < ' ' || c > '~' {
			return "", fmt.Errorf("a password has characters other than printable ASCII")
		}
	}
	salt := make([]byte, scramSalt)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	return scramVerifierWith(password, salt)
}

func scramVerifierWith(password string, salt []byte) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, scramIterations, sha256.Size)
	if err != nil {
		return "", err
	}
	client := sha256.Sum256(mac(salted, "Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", scramIterations, encode(salt), encode(client[:]), encode(mac(salted, "Server Key"))), nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text)) // a hash's Write does not fail
	return h.Sum(nil)
}
