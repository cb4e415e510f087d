"""``python -m tools.services install|start|stop|status|logs [NAME...]``: real servers without Docker."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from datadistiller import errors
from tools.services import install, postgres, programs
from tools.services.kafka import KafkaServer
from tools.services.minio import MinioServer
from tools.services.opensearch import OpenSearchServer
from tools.services.postgres import PostgresServer
from tools.services.programs import ServiceError
from tools.services.server import Maker, Server

SERVERS: dict[str, Maker] = {
    "kafka": KafkaServer,
    "minio": MinioServer,
    "opensearch": OpenSearchServer,
    postgres.NEWEST: partial(PostgresServer, name=postgres.NEWEST),
    postgres.OLDEST: partial(PostgresServer, name=postgres.OLDEST),
}
_LOG_LINES = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command on the servers named, or on all."""
    parser = argparse.ArgumentParser(prog="python -m tools.services", description=__doc__)
    parser.add_argument("command", choices=("install", "start", "stop", "status", "logs"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(SERVERS)}; all if none is given")
    parser.add_argument("-n", "--lines", type=int, default=_LOG_LINES, help="how much of each log, lines")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in SERVERS]
    if unknown:
        parser.error(f"there is no server '{unknown[0]}'; there are: {', '.join(SERVERS)}")
    servers = [SERVERS[name](_folder(name)) for name in given.names or SERVERS]
    if given.command == "logs":
        return logs(servers, given.lines)
    if given.command == "status":
        return asyncio.run(status(servers))
    with install.locked(install.folder() / "run" / ".lock", "another command on these servers"):
        # What the one before us did is seen only now.
        servers = [SERVERS[server.name](server.folder) for server in servers]
        command = {"install": fetch, "start": start, "stop": stop}[given.command]
        return asyncio.run(command(servers))


async def fetch(servers: Sequence[Server]) -> int:
    """Installs all that are not there. A problem with one does not keep the others away."""
    problems = []
    for server in servers:
        try:
            await asyncio.to_thread(server.install)
        except (ServiceError, errors.SetupError) as error:
            problems.append(error)
            _say(f"{server.name}: {error}")
    return 1 if problems else 0


async def start(servers: Sequence[Server]) -> int:
    """Starts all at once and prints the variables to use. One that does not start does not keep the others away."""
    begun = time.monotonic()
    results = await asyncio.gather(*(server.start() for server in servers), return_exceptions=True)
    _write_state()
    for server, result in zip(servers, results, strict=True):
        if isinstance(result, ServiceError | errors.SetupError):
            _say(f"{server.name}: {result}")
        elif isinstance(result, BaseException):
            raise result
        else:
            _say(f"{server.name}: {server.url}")
            for name, value in server.environment().items():
                print(f"{name}={value}")
    _say(f"{time.monotonic() - begun:.0f} s. The variables are also in {_folder().parent / 'environment'}.")
    return 1 if any(isinstance(result, BaseException) for result in results) else 0


async def stop(servers: Sequence[Server]) -> int:
    """Stops what was started here, and nothing else."""
    await asyncio.gather(*(server.stop() for server in servers))
    _write_state()
    return 0


async def status(servers: Sequence[Server]) -> int:
    """Prints a table. 0 if all answer, as systemd has it 3 if not."""
    answers = await asyncio.gather(*(server.ready() for server in servers))
    print(f"{'name':<18} {'pid':>7} {'port':>6} {'memory':>9} {'up':>9}  state")
    for server, answer in zip(servers, answers, strict=True):
        process = server.process
        pid = process.pid if process else "-"
        port = server.ports["client"] if process else "-"
        memory = f"{process.memory() / 1e6:.0f} MB" if process else "-"
        up = _duration(process.seconds()) if process else "-"
        state = ("answers" if answer else "does not answer") if process else "stopped"
        print(f"{server.name:<18} {pid:>7} {port:>6} {memory:>9} {up:>9}  {state}")
    good = all(answer and server.alive() for server, answer in zip(servers, answers, strict=True))
    return 0 if good else 3


def logs(servers: Sequence[Server], lines: int) -> int:
    """Prints the end of each log."""
    for server in servers:
        print(f"==> {server.log}")
        print(programs.tail(server.log, lines))
    return 0


def _write_state() -> None:
    """``state.json`` for programs, ``environment`` for shells: what runs now, whoever started it when."""
    running = [server for name, make in SERVERS.items() if (server := make(_folder(name))).process]
    environment = {name: value for server in running for name, value in server.environment().items()}
    state = {"servers": {server.name: _description(server) for server in running}, "environment": environment}
    _write(_folder().parent / "state.json", json.dumps(state, indent=2) + "\n")
    _write(_folder().parent / "environment", "".join(f"{name}={value}\n" for name, value in environment.items()))


def _description(server: Server) -> dict[str, object]:
    process = server.process
    return {
        "url": server.url,
        "ports": server.ports,
        "pid": process.pid if process else None,
        "mark": process.mark if process else None,
        "log": str(server.log),
        "data": str(server.data),
    }


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def _folder(name: str = "") -> Path:
    return install.folder() / "run" / name


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
