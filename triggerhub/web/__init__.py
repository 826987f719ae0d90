"""Speak HTTP: the ingress that the world sees, and the admin listener that people and tools use."""
