package control

// Steps outside the Plane's memory. Config.Fault is called with the name and
// ".before" or ".after" around each.
const (
	stepCloneVolume     = "volume.clone"
	stepCreateVolume    = "volume.create"
	stepStatVolume      = "volume.stat"
	stepDestroyVolume   = "volume.destroy"
	stepSnapshot        = "snapshot.create"
	stepDestroySnapshot = "snapshot.destroy"
	stepForeignSnapshot = "foreign.snapshot"
	stepForeignDestroy  = "foreign.destroy"
	stepCompare         = "volume.compare"
	stepRelations       = "instance.relations"
	stepCheckpoint      = "instance.checkpoint"
	stepFreeze          = "instance.freeze"
	stepThaw            = "instance.thaw"
	stepStart           = "instance.start"
	stepReady           = "instance.ready"
	stepClaim           = "instance.claim"
	stepStop            = "instance.stop"
	stepRemove          = "instance.remove"
	stepInspect         = "instance.inspect"
	stepListTasks       = "task.list"
	stepRemoveTask      = "task.remove"
	stepProbe           = "golden.probe"
	stepFill            = "golden.fill"
	stepFacts           = "golden.facts"
	stepPrepare         = "golden.prepare"
	stepCommitRequest   = "commit.request"
	stepCommitOutcome   = "commit.outcome"
	stepSpace           = "pool.space"
	stepObserve         = "pass.observe"
)

// FaultPoints returns every name that Config.Fault may be called with.
func FaultPoints() []string {
	steps := []string{
		stepCloneVolume, stepCreateVolume, stepStatVolume, stepDestroyVolume,
		stepSnapshot, stepDestroySnapshot, stepForeignSnapshot, stepForeignDestroy,
		stepCheckpoint, stepFreeze, stepThaw, stepCompare, stepRelations,
		stepStart, stepReady, stepClaim, stepStop, stepRemove, stepInspect, stepListTasks, stepRemoveTask,
		stepProbe, stepFill, stepFacts, stepPrepare, stepCommitRequest, stepCommitOutcome, stepSpace, stepObserve,
	}
	var points []string
	for _, s := range steps {
		points = append(points, s+".before", s+".after")
	}
	return points
}

// step does one thing outside the Plane's memory.
func (p *Plane) step(name string, do func() error) error {
	if p.cfg.Fault == nil {
		return do()
	}
	if err := p.cfg.Fault(name + ".before"); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return p.cfg.Fault(name + ".after")
}
