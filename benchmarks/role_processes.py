"""The system in its cluster form: each role a process of its own, named ``<roles>-<anything>``, driven over HTTP."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from benchmarks.harness import Server


class RoleProcesses(Server):
    """Processes come and go by name; the services they stand on are named by ``services``, environment variables."""

    def __init__(self, folder: Path, services: Mapping[str, str], **settings: object) -> None:
        super().__init__(folder, opensearch_replicas=0, **settings)
        self.env |= {**services, "DATADISTILLER_PORT": str(self.port)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def launch(self, name: str) -> None:
        """Starts a process of the roles before the last hyphen of its name."""
        with self.log_of(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.command(name), env=self.environment(name), stdout=log, stderr=log, start_new_session=True
            )

    def command(self, name: str) -> list[str]:
        """The command line of a process."""
        return [sys.executable, "-m", "datadistiller", "serve", "--roles", name.rpartition("-")[0]]

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a process."""
        return {**self.env, "WORKER_ID": name}

    def log_of(self, name: str) -> Path:
        """What a process has written, in all its lives."""
        return self.folder / f"{name}.log"

    def of_role(self, roles: str) -> list[str]:
        """The names of the processes that were started with these roles."""
        return [name for name in self.processes if name.rpartition("-")[0] == roles]

    def tree(self) -> list[psutil.Process]:
        """Every process of every role, the services not among them."""
        found: list[psutil.Process] = []
        for process in list(self.processes.values()):
            with contextlib.suppress(psutil.NoSuchProcess):
                leader = psutil.Process(process.pid)
                found += [leader, *leader.children(recursive=True)]
        return found
