"""Hold what runs inside a worker: standard library only, executed as a file, imported by nobody."""
