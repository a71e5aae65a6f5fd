package auth

import (
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"
)

// Encrypted marks the connections of a listener as ones for TLS.
func Encrypted(l net.Listener) net.Listener { return encryptedListener{l} }

type encryptedListener struct{ net.Listener }

type encrypted struct{ net.Conn }

func (l encryptedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return encrypted{conn}, nil
}

// handshake is TLS's own. The library's credentials see to what HTTP/2 needs.
func (e encrypted) handshake(cfg *tls.Config) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := credentials.NewTLS(cfg).ServerHandshake(e.Conn)
	if err != nil {
		return nil, nil, err
	}
	is := info.(credentials.TLSInfo) // what these credentials make
	return conn, Peer{CommonAuthInfo: is.CommonAuthInfo, TLS: &is.State}, nil
}
