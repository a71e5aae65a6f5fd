// Package schema compares the schemas and the data of PostgreSQL databases, and
// merges two schemas that come from one.
//
// What there is it reads from the catalogs (Read): every kind of object that can
// be in a database is either compared by its definition, or by its presence, or
// named in NotCompared, so that nothing is left out silently. The statements that
// turn one schema into another are made by github.com/stripe/pg-schema-diff, and
// for a few kinds that it does not know by this package (Between). Because no
// generator knows everything, a plan is only believed once it has been tried on a
// copy (Apply, then Diff what is there with what was wanted).
package schema
