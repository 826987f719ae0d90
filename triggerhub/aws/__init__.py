"""Shape values as AWS does: pure functions from facts to JSON."""
