package config

// Example is a small file with comments, to begin from.
const Example = `# Two pools of workers under one supervisor.
pools:
  web:
    command: ["./server", "--port", "8080"]   # a list: no shell reads it
    workers: cpus                             # or a number
    dir: /srv/app
    env: {MODE: production}
    ready: {when: hello, timeout: 10s}        # it says so on its socket
    health: {ping: 2s, timeout: 1s, failures: 3}
    stop: {signal: TERM, timeout: 30s}        # then it is killed

  mail:
    command: ["sh", "-c", "exec ./mailer < queue"]
    restart:
      when: on-failure
      backoff: 1s..1m                         # twice as long each time
      budget: 5/10m                           # then it is given up
      give_up_codes: [78]                     # it says its configuration is wrong

# Members of the group ops may send commands and restart; the supervisor's own
# user and root may do everything.
control:
  listen: {mode: "0660", group: ops, role: operator}
`
