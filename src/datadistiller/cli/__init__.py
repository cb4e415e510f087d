"""The ``datadistiller`` command. It speaks the HTTP API; only ``up`` and ``serve`` run the system themselves."""
