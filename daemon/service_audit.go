package daemon

import (
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloned-db/cloned/daemon/audit"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// auditService is the API's AuditService on the audit log.
type auditService struct {
	clonedv1.UnimplementedAuditServiceServer
	log *audit.Log
}

func (s *auditService) ListAudit(req *clonedv1.ListAuditRequest, stream grpc.ServerStreamingServer[clonedv1.ListAuditResponse]) error {
	filter := audit.Filter{Principal: req.GetPrincipal(), Method: req.GetMethod(), Name: req.GetName()}
	if req.GetSinceTime() != nil {
		filter.Since = req.GetSinceTime().AsTime()
	}
	send := func(e audit.Entry) error {
		return stream.Send(&clonedv1.ListAuditResponse{Entry: entryToProto(e)})
	}
	tail := int(req.GetTail())
	var last []audit.Entry
	err := s.log.Read(stream.Context(), func(e audit.Entry) error {
		switch {
		case !filter.Matches(e):
			return nil
		case tail == 0:
			return send(e)
		}
		if last = append(last, e); len(last) >= 2*tail {
			last = append(last[:0], last[len(last)-tail:]...)
		}
		return nil
	})
	for _, e := range last[max(0, len(last)-tail):] {
		if err := send(e); err != nil {
			return err
		}
	}
	return err
}

func entryToProto(e audit.Entry) *clonedv1.AuditEntry {
	return &clonedv1.AuditEntry{
		Time: timestamppb.New(e.Time), Principal: e.Principal, Role: e.Role, From: e.From,
		Method: e.Method, Request: string(e.Request), Outcome: e.Outcome, Reason: e.Reason,
		RequestId: e.ID, TookMs: e.TookMS,
	}
}
