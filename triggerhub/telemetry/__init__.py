"""Tell what happens: logs of the hub, logs of its functions, metrics."""
