package harness

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"testing"
)

var saidVersion = regexp.MustCompile(`server_version\x00\d\d\.`)

// OfMajor returns the URL of a server that is the one at the URL, and says at the
// login that it is of another major version, of two digits.
func OfMajor(t testing.TB, to string, major int) string {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	server := u.Host
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			go passOn(client, server, fmt.Appendf(nil, "server_version\x00%02d.", major))
		}
	}()
	u.Host = l.Addr().String()
	return u.String()
}

// passOn connects a client with the server, until one of them closes.
func passOn(client net.Conn, to string, says []byte) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return // which the client notices
	}
	defer server.Close()
	go func() {
		defer server.Close()
		_, _ = io.Copy(server, client) // until one of them closes
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		if _, err := client.Write(saidVersion.ReplaceAllLiteral(buf[:n], says)); err != nil {
			return
		}
	}
}
