package postgres

import (
	"context"
	"fmt"
	"net"
)

// What runs behind a server's socket is not trusted: it may be another program,
// and send without an end. So is all bounded that a server may send us in one
// session, in bytes.
const (
	// shortAnswers are those of sessions that ask next to nothing.
	shortAnswers = 1 << 20
	// longAnswers have a line for each relation.
	longAnswers = 64 << 20
)

// dialer opens a connection, as pgconn has it done.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// bounded makes of a dialer one whose connections end after that many bytes.
func bounded(answers int64, dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &boundedConn{Conn: conn, left: answers, answers: answers}, nil
	}
}

type boundedConn struct {
	net.Conn
	left, answers int64
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("it sends more than %d bytes", c.answers)
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}
