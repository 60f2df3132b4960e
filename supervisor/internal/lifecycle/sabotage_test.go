package lifecycle

import "time"

type sabotage struct {
	name    string
	event   func(*world, Event) Event              // what the machine is told
	effects func(*world, Event, []Effect) []Effect // what it is seen to say
	next    func(time.Time) time.Time              // when it is looked at again
	inside  func(*Machine)                         // what becomes of it after a step
	policy  func(*Policy)
	laws    string                                 // those that may find out
}
