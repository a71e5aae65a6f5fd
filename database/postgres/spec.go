package postgres

import (
	"path"
	"path/filepath"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
)

const (
	// ownDir is ours in a volume.
	ownDir = ".cloned"
	// runDir holds the admin socket; only the data's owner may enter it.
	runDir = ownDir + "/run"

	hbaFile   = "pg_hba.conf"
	identFile = "pg_ident.conf"
)

// paths are those of a volume as the server sees them.
type paths struct {
	data string // the data directory
	own  string // .cloned
	// run is the directory of the admin socket, relative to the data directory,
	// in which a server works: the whole path of a socket may not be longer than
	// 107 bytes (unix(7)), and volumes' paths can be long.
	run string
}

func pathsOf(rt container.Runtime, v database.Volume) paths {
	root := rt.VolumePath(v.Path)
	// Both are relative and clean, so that there is always a way from one to the
	// other.
	run, err := filepath.Rel(v.DataDir, runDir)
	if err != nil {
		run = path.Join(root, runDir)
	}
	return paths{data: path.Join(root, v.DataDir), own: path.Join(root, ownDir), run: run}
}

// Spec implements database.Engine.
func (*Engine) Spec(req database.StartRequest) container.Spec {
	spec := container.Spec{
		ID:          req.ID,
		Image:       req.Volume.Image,
		Volume:      req.Volume.Path,
		User:        req.Facts.Owner,
		Limits:      req.Volume.Limits,
		PublishAddr: req.PublishAddr,
		PublishPort: req.PublishPort,
		Port:        port,
		// Fast shutdown: sessions are ended, and a checkpoint is made.
		StopSignal: "SIGINT",
	}
	addr, listen := req.Runtime.Listen(spec)
	p := pathsOf(req.Runtime, req.Volume)
	safety := disposable
	if req.Durable {
		safety = durable
	}
	all := merge(
		of(modest, req.Facts.Major), memory(req.Runtime), safety, settings{"cluster_name": req.ID},
		req.Prepared.Parameters, preloading(req.Prepared.PreloadLibraries), req.Settings,
		guards(req.Facts.Major, p, endpoint{addr: addr, port: listen, id: req.ID}))
	if req.CountStatements && req.Prepared.CanCount {
		all[preload] = withLibrary(all[preload], counting)
	}
	spec.Argv = append([]string{"postgres", "-D", p.data}, all.args()...)
	return spec
}
