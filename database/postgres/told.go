package postgres

import (
	"fmt"

	"github.com/cloned-db/cloned/errs"
)

// maxTold bounds how many things of one kind people are told of, which is kept in
// the records of snapshots: a data directory may have any number.
const maxTold = 500

// told makes a list fit for the record.
func told(list []string) []string {
	var out []string
	for _, text := range list[:min(len(list), maxTold)] {
		out = append(out, errs.Plain(text))
	}
	if more := len(list) - maxTold; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return out
}
