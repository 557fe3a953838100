"""Each app held to its own: sweeps of everything a client can ask of a shared server."""
