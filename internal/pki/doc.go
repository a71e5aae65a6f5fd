// Package pki makes a small certificate authority: one CA in a directory, the
// daemon's certificate, and those of its clients. It is for hosts that have no
// authority of their own; the daemon takes any other's certificates as well.
//
//	ca.crt ca.key          the authority; its key is needed to issue only
//	server.crt server.key  the daemon's
//	NAME.crt NAME.key      a client's
package pki
