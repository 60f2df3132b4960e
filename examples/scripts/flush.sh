#!/bin/sh
# Has every worker of a pool flush its cache: flush.sh [POOL]. Exits 1 if one said no.
socket=${BROOD_SOCKET:-/run/brood/control.sock}
# -t: how long socat waits for the answer once it has no more to send
answer=$(echo "@${1:-web}/* flush" | socat -t 60 - "UNIX:$socket") || exit 1
printf '%s\n' "$answer"
! printf '%s\n' "$answer" | grep -q '^\([^ ]*: \)\{0,1\}error: '
