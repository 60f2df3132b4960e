#!/bin/sh
# A worker in shell: brood worker runs this script with the command's name for each command, and beat() beside them.
#
#   brood run -n 2 --name web -- examples/shell/worker.sh

# duration writes 300ms, 2s, 5m or 1h in the seconds that sleep wants.
duration() {
	n=${1%%[a-z]*}
	case $1 in
	*ms) awk "BEGIN { print $n / 1000 }" ;;
	*s) echo "$n" ;;
	*m) echo $((n * 60)) ;;
	*h) echo $((n * 3600)) ;;
	*) echo "a duration is 300ms or 2s, got '$1'" >&2 && return 1 ;;
	esac
}

# beat is the program that the worker is there for.
beat() {
	trap 'kill $!; exit 0' TERM
	while :; do
		sleep 1 &
		wait $!
	done
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
"") # brood runs this
	exec brood worker \
		--on echo="$0 echo" --on sleep="$0 sleep" --on fail="$0 fail" --on pid="$0 pid" --on-stream count=seq \
		-- "$0" beat
	;;
beat) beat ;;
echo) # words come as arguments, anything else on standard input
	if [ $# -gt 0 ]; then printf '%s\n' "$*"; else cat; fi
	;;
sleep)
	seconds=$(duration "${1:-1s}") && sleep "$seconds" && echo "slept $1"
	;;
fail)
	echo "${*:-failed as asked}" >&2
	exit 1
	;;
pid) echo "$PPID" ;;
esac
