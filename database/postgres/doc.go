// Package postgres is the database.Engine for PostgreSQL 12 to 18. Whatever has
// to be known about PostgreSQL is known here and nowhere else: the layout of a
// data directory, which settings and catalog entries reach out of a clone, how
// a server is filled, prepared, started and asked whether it is ready.
//
// A data directory is somebody else's and is not trusted. Its files are read
// through os.Root, only if they are regular and small; none of its settings is
// in force for long enough to load a library, run a command or open a
// connection (see Prepare); and the server that runs on it is spoken to over a
// socket that is looked up below the volume, so that a link put in its place
// leads nowhere.
//
// What must not be here: anything about filesystems (a volume is a path) or
// about how a process is run (that is container.Runtime).
package postgres
