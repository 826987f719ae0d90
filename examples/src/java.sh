#!/bin/sh
# A virtual machine takes a quarter of the host's memory unless it is told how much there is for it.
exec java -XX:MaxRAM="${AWS_LAMBDA_FUNCTION_MEMORY_SIZE}m" -XX:MaxRAMPercentage=60 -XX:+UseSerialGC \
    -cp "$LAMBDA_TASK_ROOT" Bootstrap
