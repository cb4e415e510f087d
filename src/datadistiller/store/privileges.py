"""How to start a program that refuses to run as root, when we are root.

No account is created and nothing is opened for others. In order: the owner the data has already; a user namespace
in which root has another number (user_namespaces(7)), so that files stay root's; an existing unprivileged account;
the same with the one capability to pass folders that are closed to it (``/root``).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datadistiller import errors

ACCOUNTS = ("postgres", "daemon", "nobody")  # existing ones are tried in this order
_PASS = "+dac_read_search"  # capabilities(7): read and enter any folder
_TRY = 'program=$1; cd "$2" && "$program" --version >/dev/null && id -u'


@dataclass(frozen=True, slots=True)
class Runner:
    """A way to start programs: a command in front, and the account (uid, gid) to switch to or to own files."""

    prefix: tuple[str, ...] = ()
    switch: tuple[int, int] | None = None
    owner: tuple[int, int] | None = None

    def command(self, *argv: str) -> list[str]:
        """The command line that runs ``argv`` this way."""
        return [*self.prefix, *argv]

    def options(self) -> dict[str, Any]:
        """Keyword arguments of ``subprocess``: the account, and an environment without surprises."""
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        account: dict[str, Any] = {}
        if self.switch is not None:
            account = {"user": self.switch[0], "group": self.switch[1], "extra_groups": []}
        return {"env": environment, **account}

    def own(self, *folders: Path) -> None:
        """Makes the program's account the owner of these folders."""
        if self.owner is not None:
            for folder in folders:
                os.chown(folder, *self.owner)


def runner(programs: Path, folder: Path, program: str = "postgres") -> Runner:
    """How to run the PostgreSQL in ``programs`` on an existing ``folder``. ``errors.SetupError`` if root cannot."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return Runner()
    for candidate in _candidates(folder):
        if _works(candidate, programs / program, folder.parent):
            return candidate
    raise errors.SetupError(
        f"PostgreSQL refuses to run as root, and no other account here can reach both {programs} and {folder}.",
        hint="Run DataDistiller as an ordinary user, or set DATADISTILLER_DATABASE_URL to a server of your own.",
    )


def _candidates(folder: Path) -> Iterator[Runner]:
    status = folder.stat()
    if status.st_uid != 0:
        yield from _as_account(status.st_uid, status.st_gid)
        return
    accounts = list(_accounts())
    if sys.platform == "linux":
        for uid, gid in accounts[:1]:  # any will do that has a name: initdb asks for it
            yield Runner(prefix=("unshare", "--user", f"--map-user={uid}", f"--map-group={gid}", "--"))
    for uid, gid in accounts:
        yield from _as_account(uid, gid)


def _as_account(uid: int, gid: int) -> Iterator[Runner]:
    yield Runner(switch=(uid, gid), owner=(uid, gid))
    user = (f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    yield Runner(prefix=("setpriv", *user, f"--inh-caps={_PASS}", f"--ambient-caps={_PASS}", "--"), owner=(uid, gid))


def _accounts() -> Iterator[tuple[int, int]]:
    import pwd  # not on every platform

    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return ((known[name].pw_uid, known[name].pw_gid) for name in ACCOUNTS if name in known and known[name].pw_uid)


def _works(candidate: Runner, program: Path, parent: Path) -> bool:
    """True if the program runs this way, does not see itself as root, and reaches the data."""
    argv = candidate.command("/bin/sh", "-c", _TRY, "sh", str(program), str(parent))
    try:
        seen = subprocess.run(argv, capture_output=True, check=False, timeout=20, cwd="/", **candidate.options())
    except (OSError, subprocess.SubprocessError):
        return False
    return seen.returncode == 0 and seen.stdout.strip() not in (b"", b"0")
