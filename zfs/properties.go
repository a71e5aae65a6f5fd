package zfs

// Properties returns what Open sets on a parent dataset that it creates; volumes
// inherit all of it. Each is set even where it is the default, because the
// datasets above may say otherwise.
//
//   - recordsize=16K: PostgreSQL writes pages of 8 KiB. ZFS rewrites whole
//     records, so with the default of 128 KiB a clone that changes one page
//     takes 128 KiB of its own. Records of 8 KiB would double the metadata and
//     leave compression nothing to gain on disks with 4 KiB sectors: a page
//     saves space only if it shrinks by half. 16 KiB saves quarters.
//   - compression=lz4: about as fast as memory, and gives up early on what does
//     not shrink. zstd gains little more on records this small, costs several
//     times the processor time on each write of every clone, and older pools
//     have not enabled its feature.
//   - atime=off: otherwise every clone that is merely read writes access times.
//   - logbias=latency: a forced write of a page goes to the intent log and
//     reaches its place with the next transaction group. "throughput" writes
//     it in place at once, each with its own metadata, which fragments the file
//     for every later sequential read.
//   - primarycache=all: the cache holds a block once for all the clones that
//     share it. "metadata", advised for single databases with large buffers of
//     their own, would make each clone read the same blocks from disk.
//   - xattr=sa: security labels, which container engines set, lie in the file's
//     own node and not in a hidden directory for each file.
//   - devices=off, setuid=off, exec=off: a volume holds somebody's data
//     directory, and nothing in it is to be run.
//   - sharenfs=off, sharesmb=off: a clone of production is never exported
//     because the pool is; and sharing would add its time to each clone.
//   - com.sun:auto-snapshot=false: tools that snapshot every dataset leave out
//     the volumes. A volume with a snapshot that others made can't be destroyed.
func Properties() map[string]string {
	return map[string]string{
		"recordsize":            "16K",
		"compression":           "lz4",
		"atime":                 "off",
		"logbias":               "latency",
		"primarycache":          "all",
		"xattr":                 "sa",
		"devices":               "off",
		"setuid":                "off",
		"exec":                  "off",
		"sharenfs":              "off",
		"sharesmb":              "off",
		"com.sun:auto-snapshot": "false",
	}
}
