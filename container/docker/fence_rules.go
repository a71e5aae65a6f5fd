package docker

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// fenceChain is one base chain and its rules, each known by its comment.
type fenceChain struct {
	name  string
	hook  *nftables.ChainHook
	rules []fenceRule
}

type fenceRule struct {
	comment string
	exprs   []expr.Any
}

// The chains see packets before those of Docker, so that the counters tell all
// that was tried.
const fencePriority = nftables.ChainPriority(-10)

// ctStatusDstNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const ctStatusDstNAT = 1 << 5

// ctDirectionReply is IP_CT_DIR_REPLY of nf_conntrack_tuple_common.h.
const ctDirectionReply = 1

// chains returns the chains of our table of a family.
func (f fence) chains(family nftables.TableFamily) []fenceChain {
	answers := fenceRule{"answers leave", slices.Concat(
		isInterface(expr.MetaKeyIIFNAME, f.bridge),
		[]expr.Any{
			&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{ctDirectionReply}},
		},
		anyBit(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED),
		verdict(expr.VerdictAccept),
	)}
	nothingElse := fenceRule{"nothing else leaves", slices.Concat(isInterface(expr.MetaKeyIIFNAME, f.bridge), verdict(expr.VerdictDrop))}
	if family == nftables.TableFamilyBridge {
		return []fenceChain{{"forward", nftables.ChainHookForward, []fenceRule{
			{"neighbours are apart", slices.Concat(isInterface(expr.MetaKeyBRIIIFNAME, f.bridge), verdict(expr.VerdictDrop))},
		}}}
	}
	return []fenceChain{
		{"forward", nftables.ChainHookForward, []fenceRule{
			answers, nothingElse,
			{"published ports come in", slices.Concat(isInterface(expr.MetaKeyOIFNAME, f.bridge), anyBit(expr.CtKeySTATUS, ctStatusDstNAT), verdict(expr.VerdictAccept))},
			{"nothing else comes in", slices.Concat(isInterface(expr.MetaKeyOIFNAME, f.bridge), verdict(expr.VerdictDrop))},
		}},
		{"input", nftables.ChainHookInput, []fenceRule{answers, nothingElse}},
	}
}

// isInterface matches the name of an interface, or of the bridge it belongs to.
func isInterface(key expr.MetaKey, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: padded}}
}

// anyBit matches if one of the bits is set in what conntrack knows.
func anyBit(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: binaryutil.NativeEndian.PutUint32(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
	}
}

func verdict(kind expr.VerdictKind) []expr.Any {
	return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: kind}}
}

// is says whether found, of our table, is attached where c belongs.
func (c fenceChain) is(found *nftables.Chain) bool {
	return found.Name == c.name && found.Hooknum != nil && *found.Hooknum == *c.hook &&
		found.Priority != nil && *found.Priority == fencePriority
}

func (r fenceRule) userData() []byte {
	return userdata.AppendString(nil, userdata.TypeComment, r.comment)
}
