"""Keep events and deliveries: the implementations of ``triggerhub.store``."""
