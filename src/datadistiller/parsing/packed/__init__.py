"""ZIP containers and archives of all kinds."""
