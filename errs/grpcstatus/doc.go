// Package grpcstatus carries errs.Error over gRPC: FromError makes the status
// that the daemon answers with, ToError the error that the client returns, each
// the inverse of the other. Nothing else turns one into the other.
//
// A status has an ErrorInfo (Domain, a stable reason, the fields of errs.Error
// as metadata), and for people with other clients the standard details that
// fit: BadRequest, PreconditionFailure or QuotaFailure.
package grpcstatus
