package grpcstatus

import (
	"testing"
	"unicode/utf8"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cloned-db/cloned/errs"
)

// FuzzStatus: whatever status comes from the other end, it is an error of some
// kind, and what becomes of any error can be sent.
func FuzzStatus(f *testing.F) {
	for _, kind := range errs.Kinds() {
		raw, err := proto.Marshal(FromError(errs.New(kind, "R", "m").WithHint("h").WithPhase("p"), "id").Proto())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, "message\xff\x1b[2J")
	}
	f.Fuzz(func(t *testing.T, raw []byte, message string) {
		var st spb.Status
		if proto.Unmarshal(raw, &st) == nil && st.GetCode() != 0 {
			err := ToError(status.ErrorProto(&st))
			e := errs.As(err)
			if e == nil || e.Reason == "" && errorInfo(status.FromProto(&st)) == nil {
				t.Fatalf("%v is %+v", &st, e)
			}
			_ = RequestID(err)
			sendable(t, FromError(err, "id"))
		}
		sendable(t, FromError(errs.New(errs.Kind(len(message)%10), message, "%s", message).WithHint("%s", message).WithLog([]string{message, message}), "id"))
	})
}

func sendable(t *testing.T, st *status.Status) {
	t.Helper()
	raw, err := proto.Marshal(st.Proto())
	if err != nil || len(raw) > 64<<10 || !utf8.ValidString(st.Message()) {
		t.Errorf("a status of %d bytes: %v", len(raw), err)
	}
}
