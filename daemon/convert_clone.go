package daemon

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloned-db/cloned/daemon/control"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

var stateToProto = map[state.CloneState]clonedv1.CloneState{
	state.CloneCreating:   clonedv1.CloneState_CLONE_STATE_CREATING,
	state.CloneReady:      clonedv1.CloneState_CLONE_STATE_READY,
	state.CloneStarting:   clonedv1.CloneState_CLONE_STATE_STARTING,
	state.CloneCrashed:    clonedv1.CloneState_CLONE_STATE_CRASHED,
	state.CloneResetting:  clonedv1.CloneState_CLONE_STATE_RESETTING,
	state.CloneSuspending: clonedv1.CloneState_CLONE_STATE_SUSPENDING,
	state.CloneSuspended:  clonedv1.CloneState_CLONE_STATE_SUSPENDED,
	state.CloneFailed:     clonedv1.CloneState_CLONE_STATE_FAILED,
	state.CloneDeleting:   clonedv1.CloneState_CLONE_STATE_DELETING,
}

// stateFromProto returns "" for unspecified, which matches all.
func stateFromProto(wanted clonedv1.CloneState) state.CloneState {
	for ours, theirs := range stateToProto {
		if theirs == wanted {
			return ours
		}
	}
	return ""
}

func filterFromProto(f *clonedv1.CloneFilter) control.CloneFilter {
	return control.CloneFilter{
		Golden: f.GetGolden(), Branch: f.GetBranch(), Owner: f.GetOwner(),
		Labels: f.GetLabels(), State: stateFromProto(f.GetState()),
	}
}

// cloneToProto leaves out what Clone says only some methods fill: the password
// and the usage.
func cloneToProto(c state.Clone, e control.Endpoint) *clonedv1.Clone {
	return &clonedv1.Clone{
		Id: c.ID, Name: c.Name, Golden: c.Golden, Snapshot: c.Snapshot,
		Branch: c.Branch, Owner: c.Owner, Labels: c.Labels, Protect: c.Protect,
		State: stateToProto[c.State], Message: c.Message,
		CreateTime: timestamppb.New(c.Created), ExpireTime: optionalTime(c.Expires),
		Endpoint: &clonedv1.Endpoint{
			Address: e.Addr, Port: int32(e.Port), Role: e.Role, Database: e.Database, Url: withoutPassword(e.URL.Reveal()),
		},
		Generation: c.Generation, Restarts: int32(c.Restarts), OomKills: int32(c.OOMKills),
		Timings: timingsToProto(c.Timings), Revision: c.Revision,
		Kept: keptToProto(c.Kept), KeptUntilTime: optionalTime(c.KeptUntil), Held: c.Held,
	}
}

// withCredentials adds the password, once the clone's database knows it.
func withCredentials(msg *clonedv1.Clone, c state.Clone, e control.Endpoint) *clonedv1.Clone {
	if c.Claimed > 0 && c.Claimed == c.Generation {
		msg.Endpoint.Password, msg.Endpoint.Url = e.Password.Reveal(), e.URL.Reveal()
	}
	return msg
}

func withoutPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return ""
	}
	u.User = url.User(u.User.Username())
	return u.String()
}

func timingsToProto(timings []state.Timing) []*clonedv1.PhaseTiming {
	list := make([]*clonedv1.PhaseTiming, 0, len(timings))
	for _, t := range timings {
		list = append(list, &clonedv1.PhaseTiming{Phase: t.Phase, Took: durationpb.New(t.Took)})
	}
	return list
}

func keptToProto(kept []state.KeptGeneration) []*clonedv1.KeptGeneration {
	list := make([]*clonedv1.KeptGeneration, 0, len(kept))
	for _, k := range kept {
		list = append(list, &clonedv1.KeptGeneration{
			Generation: k.Generation, Snapshot: k.Snapshot, ReplaceTime: timestamppb.New(k.Since), UntilTime: timestamppb.New(k.Until),
		})
	}
	return list
}

func usageToProto(u storage.Usage) *clonedv1.Usage {
	return &clonedv1.Usage{UniqueBytes: u.Unique, LogicalBytes: u.Logical}
}

func optionalTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// cloneStates returns all states in the order of the API.
func cloneStates() []state.CloneState {
	return slices.SortedFunc(maps.Keys(stateToProto), func(a, b state.CloneState) int {
		return cmp.Compare(stateToProto[a], stateToProto[b])
	})
}
