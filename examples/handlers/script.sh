#!/bin/sh
# An executable: the event is JSON on stdin, what it writes to stdout is the answer, stderr goes to the logs.
echo "request $AWS_REQUEST_ID, attempt $TRIGGERHUB_ATTEMPT" >&2
tr '[:lower:]' '[:upper:]'
