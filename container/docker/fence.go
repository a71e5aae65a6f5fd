package docker

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// fence is what keeps instances harmless: nftables rules in a table of our own
// for each of two families. As nft(8) shows them, for the installation i:
//
//	table inet cloned-i {
//		chain forward { type filter hook forward priority filter - 10; policy accept;
//			iifname "cl-i" ct direction reply ct state established,related accept
//			iifname "cl-i" drop
//			oifname "cl-i" ct status dnat accept
//			oifname "cl-i" drop
//		}
//		chain input { type filter hook input priority filter - 10; policy accept;
//			iifname "cl-i" ct direction reply ct state established,related accept
//			iifname "cl-i" drop
//		}
//	}
//	table bridge cloned-i {
//		chain forward { type filter hook forward priority filter - 10; policy accept;
//			meta ibrname "cl-i" drop
//		}
//	}
//
// What leaves the bridge has to answer what came in: a packet in the direction
// of a connection's opening is dropped even on a connection that was opened
// while the rules were missing. What enters it comes from the host itself, as
// from Docker's proxy, or through a published port. A drop is final; an accept
// ends only its own chain, so Docker's and the host's own rules still apply.
//
// Neighbours are kept apart by the bridge family. A kernel without
// nft_meta_bridge can't have that table; there the first one does it, provided
// that br_netfilter shows it what passes from one port of a bridge to another
// (which Docker sees to, for our network has no "inter-container communication").
type fence struct {
	// table is the name of our table in both families.
	table string
	// bridge is the name of the interface.
	bridge string
}

// bridgedFiltered holds 1 if br_netfilter passes bridged IPv4 through the inet
// hooks; it is absent without br_netfilter.
const bridgedFiltered = "/proc/sys/net/bridge/bridge-nf-call-iptables"

// ensure makes the rules if they are not whole.
func (f fence) ensure() error {
	for _, family := range []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyBridge} {
		whole, err := f.hasTable(family)
		if err != nil {
			return err
		}
		if whole {
			continue
		}
		err = f.replaceTable(family)
		if family == nftables.TableFamilyBridge && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT)) {
			continue // unknown to this kernel
		}
		if err != nil {
			return fenceError("setting", err)
		}
	}
	whole, err := f.whole()
	if err == nil && !whole {
		return errs.New(errs.Precondition, container.ReasonNotIsolated, "this kernel has no packet filter between the ports of a bridge, so clones could connect to each other").
			WithHint("modprobe nft_meta_bridge, or modprobe br_netfilter and sysctl net.bridge.bridge-nf-call-iptables=1")
	}
	return err
}

// whole says whether nothing can pass that must not.
func (f fence) whole() (bool, error) {
	whole, err := f.hasTable(nftables.TableFamilyINet)
	if err != nil || !whole {
		return false, err
	}
	if whole, err = f.hasTable(nftables.TableFamilyBridge); err != nil || whole {
		return whole, err
	}
	value, err := os.ReadFile(bridgedFiltered)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fenceError("reading", err)
	}
	return strings.TrimSpace(string(value)) == "1", nil
}

// replaceTable makes our table of a family in one transaction: there is no time
// at which a packet meets half of it.
func (f fence) replaceTable(family nftables.TableFamily) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	// Adding first makes the deletion succeed whether it is there or not.
	conn.DelTable(conn.AddTable(&nftables.Table{Family: family, Name: f.table}))
	table := conn.AddTable(&nftables.Table{Family: family, Name: f.table})
	accept, priority := nftables.ChainPolicyAccept, fencePriority
	for _, c := range f.chains(family) {
		chain := conn.AddChain(&nftables.Chain{
			Table: table, Name: c.name, Type: nftables.ChainTypeFilter,
			Hooknum: c.hook, Priority: &priority, Policy: &accept,
		})
		for _, r := range c.rules {
			conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: r.exprs, UserData: r.userData()})
		}
	}
	return conn.Flush()
}

// hasTable says whether our table of a family is in force and has all rules, in
// order, with nothing between them.
func (f fence) hasTable(family nftables.TableFamily) (bool, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return false, fenceError("reading", err)
	}
	defer conn.CloseLasting()
	table, err := conn.ListTableOfFamily(f.table, family)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fenceError("reading", err)
	}
	chains, err := conn.ListChainsOfTableFamily(family)
	if err != nil {
		return false, fenceError("reading", err)
	}
	for _, c := range f.chains(family) {
		inForce := slices.ContainsFunc(chains, func(found *nftables.Chain) bool { return found.Table.Name == f.table && c.is(found) })
		// A table's one flag that we could meet makes it dormant.
		if !inForce || table.Flags != 0 {
			return false, nil
		}
		rules, err := conn.GetRules(table, &nftables.Chain{Name: c.name})
		if err != nil {
			return false, fenceError("reading", err)
		}
		same := slices.EqualFunc(rules, c.rules, func(found *nftables.Rule, want fenceRule) bool {
			return bytes.Equal(found.UserData, want.userData())
		})
		if !same {
			return false, nil
		}
	}
	return true, nil
}

// remove removes our tables.
func (f fence) remove() error {
	for _, family := range []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyBridge} {
		conn, err := nftables.New()
		if err != nil {
			return fenceError("removing", err)
		}
		conn.DelTable(conn.AddTable(&nftables.Table{Family: family, Name: f.table}))
		if err := conn.Flush(); err != nil {
			return fenceError("removing", err)
		}
	}
	return nil
}

// concerns says whether the bridge is in our network namespace, where the rules
// are.
func (f fence) concerns() (bool, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, errs.New(errs.Internal, "INTERFACE", "looking for the interface %s: %w", f.bridge, err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq(f.bridge)
	if err == nil {
		err = unix.IoctlIfreq(socket, unix.SIOCGIFINDEX, request)
	}
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, errs.New(errs.Internal, "INTERFACE", "looking for the interface %s: %w", f.bridge, err)
	}
	return true, nil
}

func fenceError(doing string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return errs.New(errs.Precondition, container.ReasonNotIsolated, "%s the packet filter's rules, without which clones could connect to production: %w", doing, err).
			WithHint("run cloned as root or with CAP_NET_ADMIN, or use runtime: process")
	}
	return errs.New(errs.Unavailable, container.ReasonNotIsolated, "%s the packet filter's rules, without which clones could connect to production: %w", doing, err).
		WithHint("the kernel needs nftables with nft_ct")
}
