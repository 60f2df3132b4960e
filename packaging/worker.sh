#!/bin/sh
# A worker that knows nothing of brood: it runs until it is told to stop.
echo "$BROOD_WORKER is at work"
exec sleep infinity
