package daemon

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/errs/grpcstatus"
	"github.com/cloned-db/cloned/internal/address"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// What the strings of requests name.
const (
	aClone    = "a clone"
	aSnapshot = "a snapshot of a clone"
	aGolden   = "a golden"
	nothing   = "nothing that belongs to somebody"
)

// fields has each string of a request by its path from the method: what it names
// and, if that may be somebody else's, a request in which X stands for it and that
// would be served if X were there. A field that is new has to be added.
var fields = map[string]struct{ names, request string }{
	"CreateClone.name":     {nothing, ""}, // a name may be taken: TestTakenName
	"CreateClone.golden":   {aGolden, `name: "new" golden: "X"`},
	"CreateClone.snapshot": {aSnapshot, `name: "new" golden: "GOLDEN" snapshot: "X"`},
	"CreateClone.from":     {aClone, `name: "new" from: "X"`},
	"CreateClone.branch":   {nothing, ""}, "CreateClone.owner": {nothing, ""},
	"CreateClone.labels.key": {nothing, ""}, "CreateClone.labels.value": {nothing, ""},
	"GetClone.name":                  {aClone, `name: "X"`},
	"ListClones.filter.golden":       {nothing, ""}, // what lists have: TestListsAndCredentials
	"ListClones.filter.branch":       {nothing, ""},
	"ListClones.filter.owner":        {nothing, ""},
	"ListClones.filter.labels.key":   {nothing, ""},
	"ListClones.filter.labels.value": {nothing, ""},
	"ListClones.page_token":          {nothing, ""},
	"UpdateClone.name":               {aClone, `name: "X" protect: true update_mask: {paths: "protect"}`},
	"UpdateClone.update_mask.paths":  {nothing, ""},
	"UpdateClone.set_labels.key":     {nothing, ""}, "UpdateClone.set_labels.value": {nothing, ""},
	"UpdateClone.remove_labels": {nothing, ""},
	"ResetClone.name":           {aClone, `name: "X"`},
	"ResetClone.snapshot":       {aSnapshot, `name: "MINE" snapshot: "X"`},
	"ResetClone.clone":          {aClone, `name: "MINE" clone: "X"`},
	"GetChanges.name":           {aClone, `name: "X"`},
	"GetChanges.since":          {aSnapshot, `name: "MINE" since: "X"`},
	"UndoClone.name":            {aClone, `name: "X"`},
	"HoldClone.name":            {aClone, `name: "X"`},
	"SnapshotClone.name":        {aClone, `name: "X"`},
	"SnapshotClone.snapshot":    {nothing, ""}, "SnapshotClone.message": {nothing, ""}, "SnapshotClone.author": {nothing, ""},
	"GetLineage.name":            {aClone, `name: "X"`},
	"SuspendClone.name":          {aClone, `name: "X"`},
	"ResumeClone.name":           {aClone, `name: "X"`},
	"DeleteClone.name":           {aClone, `name: "X"`},
	"DeleteClones.filter.golden": {nothing, ""}, "DeleteClones.filter.branch": {nothing, ""}, "DeleteClones.filter.owner": {nothing, ""},
	"DeleteClones.filter.labels.key": {nothing, ""}, "DeleteClones.filter.labels.value": {nothing, ""},
	"WatchClones.filter.golden": {nothing, ""}, "WatchClones.filter.branch": {nothing, ""}, "WatchClones.filter.owner": {nothing, ""},
	"WatchClones.filter.labels.key": {nothing, ""}, "WatchClones.filter.labels.value": {nothing, ""},
	"GetCloneLogs.name": {aClone, `name: "X"`},

	"CreateGolden.name": {nothing, ""}, "CreateGolden.engine": {nothing, ""},
	"CreateGolden.source.directory.path":       {nothing, ""},
	"CreateGolden.source.base_backup.conninfo": {nothing, ""}, "CreateGolden.source.base_backup.password_file": {nothing, ""},
	"CreateGolden.source.in_place.dataset": {nothing, ""}, "CreateGolden.source.in_place.data_dir": {nothing, ""},
	"CreateGolden.source.clone.name":     {aClone, `name: "new" source: {clone: {name: "X"}}`},
	"CreateGolden.source.clone.snapshot": {aSnapshot, `name: "new" source: {clone: {name: "MINE" snapshot: "X"}}`},
	"CreateGolden.options.image":         {nothing, ""}, "CreateGolden.options.database": {nothing, ""},
	"CreateGolden.options.settings.key": {nothing, ""}, "CreateGolden.options.settings.value": {nothing, ""},
	"RefreshGolden.name":   {aGolden, `name: "X"`},
	"GetGolden.name":       {aGolden, `name: "X"`},
	"DeleteGolden.name":    {aGolden, `name: "X"`},
	"ListSnapshots.golden": {aGolden, `golden: "X"`},
	"DeleteSnapshot.id":    {aSnapshot, `id: "X"`},

	"SweepOrphans.names": {nothing, ""}, // orphans are nobody's

	"CreateToken.name": {nothing, ""}, "CreateToken.goldens": {nothing, ""}, "DeleteToken.name": {nothing, ""},
	"ListAudit.principal": {nothing, ""}, "ListAudit.method": {nothing, ""}, "ListAudit.name": {nothing, ""}, // only admins read it
}

// TestEveryFieldIsKnown: each string of each request is in the table.
func TestEveryFieldIsKnown(t *testing.T) {
	found := map[string]bool{}
	for _, m := range methods(t) {
		for _, path := range stringsOf(m.Input(), string(m.Name())) {
			found[path] = true
			if _, ok := fields[path]; !ok {
				t.Errorf("%s: this test does not say whether it can name what is somebody else's", path)
			}
		}
	}
	for path := range fields {
		if !found[path] {
			t.Errorf("%s is no field any more", path)
		}
	}
}

// methods are all of our API's.
func methods(t *testing.T) (list []protoreflect.MethodDescriptor) {
	t.Helper()
	protoregistry.GlobalFiles.RangeFilesByPackage("cloned.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			all := f.Services().Get(i).Methods()
			for j := range all.Len() {
				list = append(list, all.Get(j))
			}
		}
		return true
	})
	if len(list) < 25 {
		t.Fatalf("only %d methods", len(list))
	}
	return list
}

// stringsOf returns the paths of the strings in a message.
func stringsOf(m protoreflect.MessageDescriptor, path string) (paths []string) {
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		at := path + "." + string(f.Name())
		switch {
		case f.Kind() == protoreflect.StringKind:
			paths = append(paths, at)
		case f.Kind() == protoreflect.MessageKind:
			paths = append(paths, stringsOf(f.Message(), at)...)
		}
	}
	return paths
}

// call calls a method with a request as text, and returns all answers as text. Of
// a stream that does not end it reads the first messages only.
func call(ctx context.Context, t *testing.T, conn *grpc.ClientConn, m protoreflect.MethodDescriptor, text string, atMost int) (string, error) {
	t.Helper()
	full := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	req := dynamicpb.NewMessage(m.Input())
	if err := prototext.Unmarshal([]byte(text), req); err != nil {
		t.Fatalf("%s: %v", full, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, full)
	if err == nil {
		err = stream.SendMsg(req)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	var all []string
	for range atMost {
		resp := dynamicpb.NewMessage(m.Output())
		if err == nil {
			err = stream.RecvMsg(resp)
		}
		if errors.Is(err, io.EOF) {
			return strings.Join(all, "\n"), nil
		}
		if err != nil {
			break
		}
		all = append(all, prototext.Format(resp))
	}
	return strings.Join(all, "\n"), err
}

// TestOthersThings names what is somebody else's in each field that can name
// something, as a plain user and as an operator who may use another golden only:
// the answer is the same, word for word, as for what does not exist.
func TestOthersThings(t *testing.T) {
	r := newAccessRig(t)
	r.golden("shop")
	r.golden("other")
	alice := r.as("alice", auth.User)
	r.clone(alice, "hers")
	taken, err := alice.Clones.SnapshotClone(t.Context(), &clonedv1.SnapshotCloneRequest{Name: "hers", Snapshot: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	goldens, err := alice.Goldens.ListSnapshots(t.Context(), &clonedv1.ListSnapshotsRequest{Golden: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	before, err := alice.Clones.GetClone(t.Context(), &clonedv1.GetCloneRequest{Name: "hers"})
	if err != nil {
		t.Fatal(err)
	}
	absent := map[string]string{aClone: "none", aSnapshot: "aaaaaaaaaa", aGolden: "none"}
	for who, c := range map[string]struct {
		token  string
		golden string
		theirs map[string][]string
	}{
		"user":    {r.token("bob", auth.User), "shop", map[string][]string{aClone: {"hers"}, aSnapshot: {taken.GetSnapshot().GetId(), "v1"}}},
		"limited": {r.token("limited", auth.Operator, "other", "new"), "other", map[string][]string{aClone: {"hers"}, aSnapshot: {taken.GetSnapshot().GetId(), goldens.GetSnapshots()[0].GetId()}, aGolden: {"shop"}}},
	} {
		conn := dial(t, r.addr, client.WithToken(c.token))
		mine := "mine-" + who
		if _, _, err := conn.CreateAndWait(t.Context(), &clonedv1.CreateCloneRequest{Name: mine, Golden: c.golden}); err != nil {
			t.Fatal(err)
		}
		raw := rawConn(t, r.addr, c.token)
		tried := 0
		for _, m := range methods(t) {
			for _, path := range stringsOf(m.Input(), string(m.Name())) {
				f := fields[path]
				for _, x := range c.theirs[f.names] {
					text := strings.NewReplacer("MINE", mine, "GOLDEN", c.golden).Replace(f.request)
					got, err := call(t.Context(), t, raw, m, strings.ReplaceAll(text, `"X"`, `"`+x+`"`), 3)
					gone, goneErr := call(t.Context(), t, raw, m, strings.ReplaceAll(text, `"X"`, `"`+absent[f.names]+`"`), 3)
					if err == nil || goneErr == nil || got != "" || gone != "" {
						t.Errorf("%s, %s=%s: %q, %v; for what is not there %q, %v", who, path, x, got, err, gone, goneErr)
						continue
					}
					tried++
					e, absentErr := errs.As(toNative(err)), errs.As(toNative(goneErr))
					unname := func(text, name string) string { return strings.ReplaceAll(text, name, "X") }
					if e.Kind != absentErr.Kind || e.Reason != absentErr.Reason || unname(e.Message, x) != unname(absentErr.Message, absent[f.names]) || e.Hint != absentErr.Hint {
						t.Errorf("%s, %s=%s: %v (%s); for what is not there: %v (%s)", who, path, x, e, e.Hint, absentErr, absentErr.Hint)
					}
					if told := e.Kind != errs.NotFound && e.Kind != errs.Denied && e.Reason != "NOT_SUPPORTED"; told {
						t.Errorf("%s, %s=%s: %v %v", who, path, x, e.Kind, e)
					}
				}
			}
		}
		if tried < 20 {
			t.Errorf("%s: only %d fields were tried", who, tried)
		}
	}
	if now, err := alice.Clones.GetClone(t.Context(), &clonedv1.GetCloneRequest{Name: "hers"}); err != nil || now.GetClone().GetRevision() != before.GetClone().GetRevision() {
		t.Errorf("somebody changed her clone: %v, %v", now, err)
	}
}

// TestTakenName: a name that is another's is taken, and nothing is told of whose.
func TestTakenName(t *testing.T) {
	r := newAccessRig(t)
	r.golden("shop")
	alice, bob := r.as("alice", auth.User), r.as("bob", auth.User)
	req := &clonedv1.CreateCloneRequest{Name: "dev", Golden: "shop", Branch: "secret-branch", Owner: "alice@laptop"}
	if _, _, err := alice.CreateAndWait(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	for _, ask := range []*clonedv1.CreateCloneRequest{req, {Name: "dev", Golden: "shop"}} {
		resp, err := bob.Clones.CreateClone(t.Context(), ask)
		if e := errs.As(err); !errs.Is(err, errs.Exists) || resp.GetClone() != nil {
			t.Errorf("%v, %v", resp, err)
		} else if text := e.Error() + e.Hint; strings.Contains(text, "shop") || strings.Contains(text, "secret") || strings.Contains(text, "alice") || strings.Contains(text, "delete") {
			t.Errorf("he is told %q", text)
		}
	}
	// What was deleted, and is kept, is not his to bring back or to forget either.
	if _, err := alice.Clones.DeleteClone(t.Context(), &clonedv1.DeleteCloneRequest{Name: "dev"}); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.Clones.UndoClone(t.Context(), &clonedv1.UndoCloneRequest{Name: "dev"}); !errs.Is(err, errs.NotFound) {
		t.Errorf("undo: %v", err)
	}
	if _, err := bob.Clones.DeleteClone(t.Context(), &clonedv1.DeleteCloneRequest{Name: "dev", Now: true}); !errs.Is(err, errs.NotFound) {
		t.Errorf("delete: %v", err)
	}
	if _, err := alice.Clones.UndoClone(t.Context(), &clonedv1.UndoCloneRequest{Name: "dev"}); err != nil {
		t.Errorf("who made it can't bring it back: %v", err)
	}
}

// TestListsAndCredentials has each role see, by each method that answers with
// clones, what it may: a user its own, the others all, and nobody the password of
// a clone that somebody else made.
func TestListsAndCredentials(t *testing.T) {
	r := newAccessRig(t)
	r.golden("shop")
	alice := r.as("alice", auth.User)
	hers := r.clone(alice, "hers")
	password := hers.GetEndpoint().GetPassword()
	if password == "" || !strings.Contains(hers.GetEndpoint().GetUrl(), password) {
		t.Fatal("who made it gets no password")
	}
	reads := []string{ // what shows that the clone is there comes first
		`ListClones`, `ListClones filter: {golden: "shop"}`, `WatchClones`, `GetTree usage: true`, `GetClone name: "hers"`,
		`GetLineage name: "hers" usage: true`, `ListSnapshots`, `ListGoldens`, `GetGolden name: "shop"`,
	}
	const shows = 5
	changes := []string{ // in this order
		`UpdateClone name: "hers" set_labels: {key: "a" value: "b"}`, `ResetClone name: "hers"`, `UndoClone name: "hers"`,
		`SuspendClone name: "hers"`, `ResumeClone name: "hers"`, `SnapshotClone name: "hers"`, `GetCloneLogs name: "hers"`,
		`DeleteClones filter: {golden: "shop"}`, `UndoClone name: "hers"`, `DeleteClone name: "hers"`, `UndoClone name: "hers"`,
	}
	byName := map[string]protoreflect.MethodDescriptor{}
	for _, m := range methods(t) {
		name := string(m.Name())
		byName[name] = m
		tried := slices.ContainsFunc(append(reads, changes...), func(way string) bool { return strings.HasPrefix(way, name) })
		if answersWith(m.Output(), "cloned.v1.Endpoint") && !tried && name != "CreateClone" { // see TestTakenName
			t.Errorf("%s answers with clones, and this test does not try it", name)
		}
	}
	for _, role := range callers[1:] {
		raw := rawConn(t, r.addr, r.token("other-"+role.String(), role))
		try := func(way string) (string, error) {
			method, request, _ := strings.Cut(way, " ")
			got, err := call(t.Context(), t, raw, byName[method], request, 1)
			if strings.Contains(got, password) || err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("%s gets the password by %s", role, way)
			}
			return got, err
		}
		if role == auth.User { // for a watch to begin with
			if _, err := try(`CreateClone name: "own" golden: "shop"`); err != nil {
				t.Fatal(err)
			}
		}
		for i, way := range append(slices.Clone(reads), changes...) {
			got, err := try(way)
			sees := strings.Contains(got, `"hers"`) || strings.Contains(got, hers.GetId())
			named := strings.Contains(way, "hers")
			switch isChange := i >= len(reads); {
			case role == auth.User && (sees || named != errs.Is(toNative(err), errs.NotFound)):
				t.Errorf("%s by %s: %v\n%s", role, way, err, got)
			case role == auth.User:
			case role == auth.Viewer && isChange:
				if errs.As(toNative(err)).Reason != reasonRole {
					t.Errorf("%s by %s: %v", role, way, err)
				}
			case err != nil || i < shows && !sees:
				t.Errorf("%s by %s: %v\n%s", role, way, err, got)
			}
		}
	}
	own, err := alice.Clones.GetClone(t.Context(), &clonedv1.GetCloneRequest{Name: "hers"})
	if err != nil || own.GetClone().GetEndpoint().GetPassword() != password || own.GetClone().GetLabels()["a"] != "b" {
		t.Errorf("who made it: %v, %v", own, err)
	}
}

// answersWith says whether a message has one of the name in it.
func answersWith(m protoreflect.MessageDescriptor, name protoreflect.FullName) bool {
	for i := range m.Fields().Len() {
		if of := m.Fields().Get(i).Message(); of != nil && (of.FullName() == name || answersWith(of, name)) {
			return true
		}
	}
	return false
}

// toNative is the error as our client returns it.
func toNative(err error) error { return grpcstatus.ToError(err) }

// rawConn is a connection without our client, which shows a token.
func rawConn(t *testing.T, addr address.Address, token string) *grpc.ClientConn {
	t.Helper()
	show := func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		return open(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), desc, cc, method, opts...)
	}
	conn, err := grpc.NewClient(addr.String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStreamInterceptor(show))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}
