package control

import (
	"context"
	"fmt"
	"os/user"
	"runtime"
	"strconv"
	"strings"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// Until the pages of HTTP are made of the same.

func (s *Server) statusJSON() api.Status {
	st := s.cfg.Supervisor.Status()
	out := api.Status{
		Version: s.cfg.Version, PID: st.PID, Started: stamp(st.Started),
		Health: healthOf(st, 0).Health, Pools: make([]api.Pool, len(st.Pools)),
	}
	for i, p := range st.Pools {
		out.Pools[i] = poolJSON(p)
	}
	return out
}

func pingJSON(p supervisor.Pong) api.Ping {
	from := p.From
	from.Generation = 0
	return api.Ping{
		Target: from.String(), Generation: p.From.Generation, PingUS: p.RTT.Microseconds(),
		Inflight: p.Inflight, OldestMS: p.OldestMS, Status: p.Status,
	}
}

func judged(results []api.Result, waited bool) (any, error) {
	counts := map[string]int{}
	for i := range results {
		if !waited && results[i].Outcome == string(supervisor.OutcomeTimeout) {
			results[i].Outcome = "accepted"
		}
		counts[results[i].Outcome]++
	}
	failed, late := counts[string(supervisor.OutcomeFailed)], counts[string(supervisor.OutcomeTimeout)]
	switch {
	case failed > 0:
		return nil, &failure{api.Problem{Code: api.CodeFailed, Results: results,
			Detail: fmt.Sprintf("%d of %d slots did not come to what was asked: %s", failed, len(results), firstText(results, string(supervisor.OutcomeFailed)))}}
	case late > 0:
		return nil, &failure{api.Problem{Code: api.CodeTimeout, Results: results,
			Detail: fmt.Sprintf("%d of %d slots are not there yet: %s", late, len(results), firstText(results, string(supervisor.OutcomeTimeout)))}}
	}
	return api.Results{Results: results}, nil
}

func (s *Server) reloadNow(ctx context.Context, dryRun bool) (any, error) {
	if s.cfg.Reload == nil {
		return nil, failf(api.CodeConflict, "there is no configuration file to read again: this supervisor was started with a command")
	}
	changes, err := s.cfg.Reload(ctx, dryRun)
	if err != nil {
		return nil, err
	}
	out := api.Reload{DryRun: dryRun, Changes: make([]api.Change, len(changes))}
	var failed []string
	for i, c := range changes {
		out.Changes[i] = changeJSON(c)
		if c.Failed() {
			failed = append(failed, c.Pool+": "+firstText(out.Changes[i].Results, string(supervisor.OutcomeFailed)))
		}
	}
	if len(failed) > 0 {
		return nil, &failure{api.Problem{Code: api.CodeFailed, Changes: out.Changes,
			Detail: "these pools are as they were before: " + strings.Join(failed, "; ")}}
	}
	return out, nil
}

func whoamiJSON(p Peer, role Role, why string) api.Whoami {
	out := api.Whoami{UID: p.UID, GID: p.GID, Groups: p.Groups, PID: p.PID, Role: role.String(), Reason: why}
	if u, err := user.LookupId(strconv.Itoa(p.UID)); err == nil {
		out.User = u.Username
	}
	return out
}

func (s *Server) versionJSON() api.Version {
	return api.Version{
		Version: s.cfg.Version, Protocol: [2]int{ipc.Version, ipc.Version},
		Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
	}
}
