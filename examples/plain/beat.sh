#!/bin/sh
# A plain worker: it knows nothing of brood, which starts it, logs what it
# prints, and starts it again when it dies.
#
#   brood run -n 2 --name beat -- ./beat.sh
n=0
while :; do
	n=$((n + 1))
	echo "beat $n from $BROOD_WORKER"
	sleep "${BEAT_SECONDS:-1}"
done
