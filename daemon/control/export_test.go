package control

// Waiting is how many requests wait for owners.
func (p *Plane) Waiting() (n int) {
	p.waiters.mu.Lock()
	defer p.waiters.mu.Unlock()
	for _, m := range p.waiters.m {
		n += len(m)
	}
	return n
}
