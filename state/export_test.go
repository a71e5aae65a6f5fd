package state

// Version is that of the file's layout.
const Version = version
