"""Media that clients put once and name by handle, at any gateway: `store` in Redis, `calls` on the wire."""
