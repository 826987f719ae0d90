"""Take events in, dispatch deliveries, and keep both going."""
