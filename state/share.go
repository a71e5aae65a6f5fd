package state

// Share is what clones take together of what is limited.
type Share struct {
	Clones int
	// MemoryBytes is the sum of the memory limits of those that have an instance,
	// or want one.
	MemoryBytes int64
}

// ShareOf is what one clone takes.
func ShareOf(c Clone) Share {
	switch {
	case c.ID == "", c.State == CloneDeleting:
		return Share{}
	case c.Suspend:
		return Share{Clones: 1}
	}
	return Share{Clones: 1, MemoryBytes: c.MemoryBytes}
}

// Plus returns the sum.
func (s Share) Plus(o Share) Share {
	return Share{s.Clones + o.Clones, s.MemoryBytes + o.MemoryBytes}
}

// Minus returns the difference.
func (s Share) Minus(o Share) Share {
	return Share{s.Clones - o.Clones, s.MemoryBytes - o.MemoryBytes}
}

// Shares are kept as clones come and go, so that nobody has to count them.
const (
	shareAll       = "all"
	sharePrincipal = "principal/"
	shareGolden    = "golden/"
)

// ShareOfAll is what all clones take.
func (v *View) ShareOfAll() Share { return v.share(shareAll) }

// ShareOfPrincipal is what the clones of a principal take.
func (v *View) ShareOfPrincipal(name string) Share { return v.share(sharePrincipal + name) }

// ShareOfGolden is what the clones of a golden take.
func (v *View) ShareOfGolden(name string) Share { return v.share(shareGolden + name) }

func (v *View) share(key string) Share {
	s, _ := v.shares.Get(key)
	return s
}

// count takes a clone into the shares, instead of what it was before.
func (v *View) count(before, after Clone) {
	v.add(before, Share{}.Minus(ShareOf(before)))
	v.add(after, ShareOf(after))
}

func (v *View) add(c Clone, s Share) {
	if s == (Share{}) {
		return
	}
	for _, key := range []string{shareAll, sharePrincipal + c.Principal, shareGolden + c.Golden} {
		if sum := v.share(key).Plus(s); sum == (Share{}) {
			v.shares.Delete(key)
		} else {
			v.shares.Set(key, sum)
		}
	}
}
