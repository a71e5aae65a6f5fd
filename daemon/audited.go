package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/cloned-db/cloned/daemon/audit"
	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/daemon/control"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/state"
)

// maxAudited bounds what an entry holds of a request, in bytes.
const maxAudited = 16 << 10

// seen is what the audit log needs to know of a call.
type seen struct {
	request     any
	credentials bool
}

// look notes what a response tells.
func (s *seen) look(response any) {
	r, ok := response.(interface{ GetClone() *clonedv1.Clone })
	s.credentials = s.credentials || ok && r.GetClone().GetEndpoint().GetPassword() != ""
}

// audit writes down a call of a known caller that may have changed something, or
// has read credentials. Whoever proved to be nobody is only in the daemon's log:
// strangers could otherwise fill this one until the rest has gone.
func (r *rpc) audited(ctx context.Context, method string, began time.Time, s *seen, st *status.Status) {
	p, known := auth.From(ctx)
	if !known || reads(method) && !s.credentials {
		return
	}
	err := r.audit.Write(audit.Entry{
		Time: began.UTC().Round(time.Millisecond), Principal: p.Name, Role: p.Role.String(), From: from(ctx),
		Method: method[strings.LastIndex(method, "/")+1:], Request: requestJSON(s.request),
		Outcome: st.Code().String(), Reason: reasonOf(st), ID: control.RequestID(ctx),
		TookMS: float64(time.Since(began).Microseconds()) / 1000,
	})
	if err != nil {
		// What is done is done; the next call that would change something is refused.
		r.log.ErrorContext(ctx, "a call is not in the audit log", "method", method, "principal", p.Name, "request", control.RequestID(ctx), "error", err)
	}
}

// auditExpiry writes down that the daemon itself has deleted a clone.
func auditExpiry(log *audit.Log) func(c state.Clone) error {
	return func(c state.Clone) error {
		request, err := json.Marshal(map[string]string{"name": c.Name, "golden": c.Golden})
		if err != nil {
			return err
		}
		return log.Write(audit.Entry{
			Time: time.Now().UTC().Round(time.Millisecond), Principal: "cloned", Method: "DeleteClone",
			Request: request, Outcome: "OK", Reason: "EXPIRED",
		})
	}
}

// from says where a call came from.
func from(ctx context.Context) string {
	who, ok := auth.PeerOf(ctx)
	switch p, known := peer.FromContext(ctx); {
	case ok && who.Local:
		return fmt.Sprintf("unix uid=%d pid=%d", who.UID, who.PID)
	case known:
		return p.Addr.String()
	}
	return ""
}

// requestJSON is a request's message; of one that is too large only the name.
func requestJSON(request any) json.RawMessage {
	message, ok := request.(proto.Message)
	if !ok {
		return nil
	}
	raw, err := protojson.Marshal(message)
	if err != nil || len(raw) > maxAudited {
		named, _ := request.(interface{ GetName() string })
		name := ""
		if named != nil {
			name = named.GetName()
		}
		raw, _ = json.Marshal(map[string]any{"name": name, "omitted_bytes": proto.Size(message)}) // of a string and a number
	}
	return raw
}

// reasonOf is the reason that a status gives.
func reasonOf(st *status.Status) string {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}
