"""The HTTP API: FastAPI, one file per resource; problems.py maps errors to HTTP."""
