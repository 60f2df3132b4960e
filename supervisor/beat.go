package supervisor

import "context"

// Beat waits until the loop has come round: it proves that the supervisor gets on
// with its work, which a watchdog wants to know. The error is ErrStopping when the
// loop has ended, else ctx's.
func (s *Supervisor) Beat(ctx context.Context) error {
	select {
	case s.beats <- struct{}{}: // nobody but the loop takes it
		return nil
	case <-s.done:
		return ErrStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stopping is closed when the first Shutdown has come.
func (s *Supervisor) Stopping() <-chan struct{} { return s.stopping }
