package daemon

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// healthCheck may be called by whoever can connect: it only tells that the daemon
// serves, and load balancers and a client's first look have no principal.
const healthCheck = "/grpc.health.v1.Health/Check"

// foreignNeeds are the roles that methods of gRPC's own services need; ours say
// it in the proto.
var foreignNeeds = map[string]auth.Role{
	healthCheck: auth.NoRole,
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      auth.Viewer,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": auth.Viewer,
}

// needs returns the role that a caller of a method needs. A method that does not
// say so can't be called by anybody.
func needs(method string) (auth.Role, error) {
	if role, ok := foreignNeeds[method]; ok {
		return role, nil
	}
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if m, ok := found.(protoreflect.MethodDescriptor); err == nil && ok {
		if role, _ := proto.GetExtension(m.Options(), clonedv1.E_Needs).(clonedv1.Role); role != clonedv1.Role_ROLE_UNSPECIFIED {
			return auth.Role(role), nil
		}
	}
	return auth.NoRole, errs.New(errs.Denied, "NOT_CALLABLE", "nobody may call %s: it does not say which role it needs", method)
}

// reasonRole: the caller has a lower role than the method needs.
const reasonRole = "ROLE_NEEDED"

// permit returns errs.Denied unless the principal has the role that a method needs.
func permit(p auth.Principal, method string, need auth.Role) error {
	if p.Role >= need {
		return nil
	}
	return errs.New(errs.Denied, reasonRole, "%s takes the role %s, and %s has the role %s", method[strings.LastIndex(method, "/")+1:], need, p.Name, p.Role).
		WithHint("ask the daemon's operator for a token of role %s, or for that role under access in the configuration; clonectl whoami tells who you are", need)
}
