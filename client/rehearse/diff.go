package rehearse

import (
	"cmp"
	"slices"
	"strings"
)

// maxGrowth is how many tables' growth a report has.
const maxGrowth = 20

// difference fills in what changed between two readings of the catalogs.
func (r *Report) difference(before, after catalog) {
	for oid, b := range before {
		a, still := after[oid]
		if !still {
			a = &database{name: b.name, sized: true}
		}
		r.differDatabase(b, a)
	}
	for oid, a := range after {
		if before[oid] == nil {
			r.differDatabase(&database{name: a.name, sized: true}, a)
		}
	}
	slices.SortFunc(r.Rewrites, func(a, b Rewrite) int {
		return cmp.Or(-cmp.Compare(a.Bytes, b.Bytes), strings.Compare(a.Database, b.Database), strings.Compare(a.Table, b.Table))
	})
	for _, list := range [][]Relation{r.Created, r.Dropped} {
		slices.SortFunc(list, func(a, b Relation) int {
			return cmp.Or(strings.Compare(a.Database, b.Database), strings.Compare(a.Name, b.Name))
		})
	}
	slices.SortFunc(r.Growth, func(a, b Growth) int {
		return cmp.Or(-cmp.Compare(max(a.Delta, -a.Delta), max(b.Delta, -b.Delta)), strings.Compare(a.Database, b.Database), strings.Compare(a.Table, b.Table))
	})
	if len(r.Growth) > maxGrowth {
		r.Growth = r.Growth[:maxGrowth]
	}
}

func (r *Report) differDatabase(before, after *database) {
	for oid, b := range before.rels {
		a, still := after.rels[oid]
		switch {
		case b.private:
		case !still:
			r.Dropped = append(r.Dropped, Relation{Name: b.name, Kind: b.kind, Database: before.name, Bytes: b.bytes})
		case a.filenode != b.filenode && rewritable(a.kind):
			r.Rewrites = append(r.Rewrites, Rewrite{
				Table: b.name, Kind: a.kind, Database: after.name,
				OldFilenode: b.filenode, NewFilenode: a.filenode, Bytes: a.bytes,
			})
		}
	}
	for oid, a := range after.rels {
		if _, known := before.rels[oid]; !known && !a.private {
			r.Created = append(r.Created, Relation{Name: a.name, Kind: a.kind, Database: after.name, Bytes: a.bytes})
		}
	}
	if before.sized && after.sized {
		r.grow(before, after)
	}
}

// rewritable leaves out sequences, which get a new file at every ALTER.
func rewritable(kind string) bool {
	return kind == "table" || kind == "index" || kind == "materialized view"
}

// grow lists the tables that changed their size; one that is not there has none.
func (r *Report) grow(before, after *database) {
	one := func(name string, from, to relation) {
		if from.total != to.total {
			r.Growth = append(r.Growth, Growth{
				Table: name, Database: after.name, Before: from.total, After: to.total, Delta: to.total - from.total,
			})
		}
	}
	isTable := func(rel relation) bool {
		return !rel.private && (rel.kind == "table" || rel.kind == "materialized view")
	}
	for oid, b := range before.rels {
		if isTable(b) {
			one(b.name, b, after.rels[oid])
		}
	}
	for oid, a := range after.rels {
		if _, known := before.rels[oid]; !known && isTable(a) {
			one(a.name, relation{}, a)
		}
	}
}
