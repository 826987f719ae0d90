"""Show the hub to people in a browser: pages, drawn here, that need nothing from elsewhere."""
