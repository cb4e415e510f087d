"""Another host, as the kernel sees it: a network namespace with a cable to this one that can be cut.

Nothing leaves the loopback range: the far end of the cable has an address of 127.0.0.0/8, and 127.0.0.1 lies for the
far host at the near end, where the servers are. A cut loses all packets in both directions and tells nobody.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tools.services import ports
from tools.services.programs import ServiceError

_PREFIX = "dd-far-"
#: Nobody has it: what is sent there is lost.
_NOWHERE = "02:00:00:00:00:01"


@dataclass(frozen=True)
class FarHost:
    """One namespace. ``address`` is where this host reaches it."""

    namespace: str
    near: str  # the ends of the cable
    far: str
    address: str

    def command(self, *argv: str) -> list[str]:
        """The command line that runs ``argv`` over there."""
        return ["ip", "netns", "exec", self.namespace, *argv]

    def cut(self) -> None:
        """No packet arrives any more; connections stay as they are."""
        _ip("neigh", "replace", self.address, "lladdr", _NOWHERE, "dev", self.near, "nud", "permanent")
        there = ("neigh", "replace", ports.LOOPBACK, "lladdr", _NOWHERE, "dev", self.far, "nud", "permanent")
        _ip("-n", self.namespace, *there)

    def mend(self) -> None:
        """Packets arrive again; harmless if they do."""
        for place, address, end in (((), self.address, self.near), (("-n", self.namespace), ports.LOOPBACK, self.far)):
            with contextlib.suppress(ServiceError):
                _ip(*place, "neigh", "del", address, "dev", end)


@contextlib.contextmanager
def connected() -> Iterator[FarHost]:
    """A host of its own for this test run. ``ServiceError`` if we are not allowed to make one."""
    _sweep()
    number = os.getpid()
    host = FarHost(
        f"{_PREFIX}{number}",
        f"ddn{number}",
        f"ddf{number}",
        f"127.{64 + number // 65536}.{number // 256 % 256}.{number % 256}",
    )
    _ip("netns", "add", host.namespace)
    try:
        _lay_cable(host)
        yield host
    finally:
        _ip("netns", "del", host.namespace)  # and the cable with it


def _lay_cable(host: FarHost) -> None:
    inside = ("-n", host.namespace)
    _ip("link", "add", host.near, "type", "veth", "peer", "name", host.far, "netns", host.namespace)
    # The namespace's own loopback device stays down, so all of 127.0.0.0/8 is at the other end.
    _ip(*inside, "address", "add", f"{host.address}/8", "dev", host.far)
    _run(*host.command("sh", "-c", f"echo 1 > {_switch(host.far)}"))
    _run("sh", "-c", f"echo 1 > {_switch(host.near)}")
    _ip(*inside, "link", "set", host.far, "up")
    _ip("link", "set", host.near, "up")
    _ip("route", "add", f"{host.address}/32", "dev", host.near, "src", ports.LOOPBACK, "table", "local")


def _switch(device: str) -> Path:
    """Lets addresses of 127.0.0.0/8 come and go by a device (Linux, ip-sysctl, ``route_localnet``)."""
    return Path("/proc/sys/net/ipv4/conf") / device / "route_localnet"


def _sweep() -> None:
    """Removes the hosts of test runs that were killed."""
    folder = Path("/run/netns")
    for left in folder.glob(f"{_PREFIX}*") if folder.is_dir() else ():
        if not psutil.pid_exists(int(left.name.removeprefix(_PREFIX))):
            _ip("netns", "del", left.name)


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*argv: str) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ServiceError("A network namespace needs the program 'ip' (Debian: iproute2).") from error
    if done.returncode != 0:
        raise ServiceError(f"This account may not make a network namespace here: {done.stderr.strip()}")
