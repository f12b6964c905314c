package main

import "sync"

// A registry gives each script its own channel.
type registry struct {
	mu       sync.Mutex
	channels map[string]chan struct{}
}

func newRegistry() *registry { return &registry{channels: map[string]chan struct{}{}} }

func (r *registry) of(key string) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.channels[key] == nil {
		r.channels[key] = make(chan struct{}, 1)
	}
	return r.channels[key]
}
