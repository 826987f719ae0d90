#!/bin/sh
# Any executable is a handler: the event is JSON on stdin, what it prints is the answer.
printf '{"bytes": %d}' "$(wc -c)"
