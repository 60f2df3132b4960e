package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/handover"
)

// signals are those that come to brood run, each an order to the supervisor.
type signals struct {
	told  chan os.Signal
	holds chan chan struct{} // each is a hold, which ends when it is closed
	held  chan struct{}      // that which is on; of who upgrades
}

// listen has signals come from now on, and those that have come since this program
// began. SIGPIPE is taken so that a reader of our output that goes away does not end
// us; ignoring it would be inherited by the workers.
func listen() *signals {
	return &signals{told: supervisor.Signals(syscall.SIGUSR2, syscall.SIGPIPE), holds: make(chan chan struct{})}
}

// actor carries them out.
func (s *signals) actor(sup *supervisor.Supervisor, reload reloadFunc, upgrade upgradeFunc, log hclog.Logger) (execute func() error, interrupt func(error)) {
	quit := make(chan struct{})
	var others sync.WaitGroup // reloads and upgrades
	return func() error {
			defer signal.Stop(s.told)
			defer others.Wait()
			hups := make(chan struct{}, 1) // one more is all that a crowd of them asks for
			defer close(hups)
			others.Go(func() {
				for range hups {
					logReload(reload, sup, log)
				}
			})
			asked := false
			for {
				select {
				case over := <-s.holds:
					<-over
				case sig := <-s.told:
					switch sig {
					case syscall.SIGHUP:
						select {
						case hups <- struct{}{}:
						default:
						}
					case syscall.SIGUSR2:
						others.Go(func() { logUpgrade(upgrade, log) })
					case syscall.SIGPIPE:
					default:
						stopBy(sig, sup, asked, log)
						asked = true
					}
				case <-quit:
					return nil
				}
			}
		}, func(error) {
			close(quit)
		}
}

// Hold has signals wait.
func (s *signals) Hold(ctx context.Context) error {
	over := make(chan struct{})
	select {
	case s.holds <- over:
		s.held = over
		return nil
	case <-ctx.Done():
		return errors.New("signals are still being acted on")
	}
}

// waiting reports whether there are some: they are this program's.
func (s *signals) waiting() bool { return len(s.told) > 0 }

// Hand hands nothing over: the next program listens.
func (s *signals) Hand(*handover.Out) error { return nil }

// Release has them acted on.
func (s *signals) Release() { close(s.held) }

// stopBy is a stop, or if one was asked for before, one at once.
func stopBy(sig os.Signal, sup *supervisor.Supervisor, asked bool, log hclog.Logger) {
	if asked {
		log.Warn("stopping at once", "signal", sig.String())
	} else {
		log.Info("stopping; a second signal kills", "signal", sig.String())
	}
	sup.Shutdown(asked)
}
