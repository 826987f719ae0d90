"""Run handlers: the implementations of ``triggerhub.runtime``."""
