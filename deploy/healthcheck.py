"""``python healthcheck.py [/livez]``: ends with 0 if the process of this container answers. Needs no other program.

A process with the role ``api`` answers on DATADISTILLER_PORT, any other on DATADISTILLER_HEALTH_PORT.
"""

from __future__ import annotations

import http.client
import os
import sys

SECONDS = 5


def answers(port: int, path: str) -> bool:
    """True if a 200 comes from the port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> int:
    """0 or 1, as Docker wants it."""
    path = sys.argv[1] if len(sys.argv) > 1 else "/livez"
    ports = (os.environ.get("DATADISTILLER_PORT", "8000"), os.environ.get("DATADISTILLER_HEALTH_PORT", "0"))
    return 0 if any(answers(int(port), path) for port in ports if int(port)) else 1


if __name__ == "__main__":
    sys.exit(main())
