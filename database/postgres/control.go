package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// clusterState is what a data directory says of itself: DBState in PostgreSQL's
// catalog/pg_control.h.
type clusterState uint32

const (
	shutDown           clusterState = 1
	shutDownInRecovery clusterState = 2
	inArchiveRecovery  clusterState = 5
	inProduction       clusterState = 6
)

// control is what global/pg_control holds and we use. It begins with the
// settings that were in force when the server last ran.
type control struct {
	SystemID uint64
	State    clusterState
	// MaxPreparedTransactions and MaxLocks (per transaction) are what recovery
	// needs at least.
	MaxPreparedTransactions int32
	MaxLocks                int32
	TrackCommitTimestamp    bool
	// WALSegment is the size of a file of the write-ahead log, in bytes.
	WALSegment int64
}

// Offsets within ControlFileData (catalog/pg_control.h), the same in all
// versions that we support and in 64-bit builds; in bytes. Up to the state they
// are promised to stay.
const (
	offSystemID             = 0
	offVersion              = 8
	offState                = 16
	offMaxPrepared          = 192
	offMaxLocks             = 196
	offTrackCommitTimestamp = 200
	offWALSegment           = 228
)

// controlFormats says for each format of the file which major versions write
// it, and where the CRC-32C of all bytes before it is. Format 1800 has one more
// bool, and so one more aligned word, before it.
var controlFormats = map[uint32]struct{ first, last, crc int }{
	1201: {12, 12, 288},
	1300: {13, 17, 288},
	1800: {18, 18, 292},
}

// controlSize is the size of the file (PG_CONTROL_FILE_SIZE), in bytes.
const controlSize = 8192

var (
	errControlFormat = errors.New("not the format of this version")
	errControlCRC    = errors.New("its checksum is wrong")
)

// parseControl reads the file's content for a data directory of that version.
func parseControl(content []byte, major int) (control, error) {
	if len(content) < offVersion+4 {
		return control{}, fmt.Errorf("it has only %d bytes", len(content))
	}
	// Databases are tied to a byte order. All platforms that we run on have this one.
	order := binary.LittleEndian
	version := order.Uint32(content[offVersion:])
	format, known := controlFormats[version]
	if !known || major < format.first || major > format.last {
		return control{}, fmt.Errorf("format %d: %w", version, errControlFormat)
	}
	if len(content) < format.crc+4 {
		return control{}, fmt.Errorf("it has only %d bytes", len(content))
	}
	sum := crc32.Checksum(content[:format.crc], crc32.MakeTable(crc32.Castagnoli))
	if sum != order.Uint32(content[format.crc:]) {
		return control{}, errControlCRC
	}
	return control{
		SystemID:                order.Uint64(content[offSystemID:]),
		State:                   clusterState(order.Uint32(content[offState:])),
		MaxPreparedTransactions: int32(order.Uint32(content[offMaxPrepared:])),
		MaxLocks:                int32(order.Uint32(content[offMaxLocks:])),
		TrackCommitTimestamp:    content[offTrackCommitTimestamp] != 0,
		WALSegment:              int64(order.Uint32(content[offWALSegment:])),
	}, nil
}

// controlTries and controlPause bound how often the file is read again: a
// server that runs (on an in-place source) may be writing it at that moment,
// which is over in microseconds. PostgreSQL's own tools do likewise.
const (
	controlTries = 5
	controlPause = 10 * time.Millisecond
)

// readControl reads global/pg_control; errs.Corrupt if it can't be trusted.
func readControl(data *os.Root, major int) (control, error) {
	var before []byte
	for try := 1; ; try++ {
		content, err := readFile(data, "global/pg_control", controlSize)
		if err == nil {
			var c control
			if c, err = parseControl(content, major); err == nil {
				return c, nil
			}
		}
		if !errors.Is(err, errControlCRC) || try == controlTries || slices.Equal(content, before) {
			return control{}, errs.New(errs.Corrupt, "PG_CONTROL", "global/pg_control of the data directory can't be used: %w", err).
				WithHint("the directory is damaged or incomplete: copy it again, with the server stopped")
		}
		before = content
		time.Sleep(controlPause)
	}
}
