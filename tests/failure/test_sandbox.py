"""The sandbox against parsers that crash, hang, eat memory and lie: real processes, nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from datadistiller import errors, model
from datadistiller.parsing import formats
from datadistiller.runtime.sandbox import MAX_FAILED_PAGES, Limits, Sandbox
from tests.fixtures import files, hostile_child

ROOT = Path(__file__).parent.parent.parent
HOSTILE = (sys.executable, "-s", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
           "from tests.fixtures import hostile_child; hostile_child.main()")  # fmt: skip
LIMITS = Limits(page_seconds=30, parse_seconds=120, memory_mb=192)

Parse = Callable[..., Awaitable[model.ParsedDocument]]


def plan(folder: Path, *pages: list[Any], **more: Any) -> Path:
    """A file that tells the hostile parser what to do."""
    path = folder / "plan.json"
    path.write_text(json.dumps({"pages": pages, **more}))
    return path


def texts(document: model.ParsedDocument) -> list[str]:
    """The text of each page, or the code of its problem."""
    return [page.problem.code if page.problem else page.text for page in document.pages]


def started_since(others: list[psutil.Process]) -> list[psutil.Process]:
    """Our child processes that were not there before."""
    return [child for child in psutil.Process().children() if child not in others]


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """No process and no open file is left by a test."""
    me = psutil.Process()
    others = me.children()  # database servers of the session
    await asyncio.to_thread(os.getpid)  # the thread pool is there before files are counted
    before = me.num_fds()
    yield
    for _ in range(200):
        if not started_since(others) and me.num_fds() <= before:
            break
        await asyncio.sleep(0.05)
    assert started_since(others) == []
    assert me.num_fds() <= before


@pytest.fixture
async def parse(tmp_path: Path) -> AsyncIterator[Parse]:
    """Parses with the hostile parser: ``parse(path, **limits)``; closes every sandbox it made."""
    made: list[Sandbox] = []

    async def run(path: Path, **limits: Any) -> model.ParsedDocument:
        values = {name: getattr(LIMITS, name) for name in LIMITS.__slots__} | limits
        made.append(Sandbox(Limits(**values), command=HOSTILE))
        return await made[-1].parse(path, "text/plain")

    yield run
    for sandbox in made:
        await sandbox.close()


SAY = [["say", f"text {n}"] for n in range(20)]


class TestPage:
    """What goes wrong on one page costs that page."""

    @pytest.mark.parametrize("step", ["segfault", "abort", "exit"])
    async def test_crash(self, tmp_path: Path, parse: Parse, step: str) -> None:
        document = await parse(plan(tmp_path, SAY[0], [step], SAY[2]))
        assert texts(document) == ["text 0", "parser_crashed", "text 2"]
        problem = document.pages[1].problem
        assert problem is not None
        assert "page 2" in problem.message

    async def test_crash_on_the_last_page(self, tmp_path: Path, parse: Parse) -> None:
        assert texts(await parse(plan(tmp_path, SAY[0], ["segfault"]))) == ["text 0", "parser_crashed"]

    async def test_hang(self, tmp_path: Path, parse: Parse) -> None:
        document = await parse(plan(tmp_path, SAY[0], ["hang"], SAY[2]), page_seconds=3)
        assert texts(document) == ["text 0", "parser_timeout", "text 2"]

    async def test_memory(self, tmp_path: Path, parse: Parse) -> None:
        document = await parse(plan(tmp_path, SAY[0], ["eat"], SAY[2]))
        assert texts(document) == ["text 0", "parser_memory", "text 2"]

    async def test_memory_used_up_by_earlier_pages(self, tmp_path: Path, parse: Parse) -> None:
        """A fresh process has room again: no page is lost."""
        keep = ["keep", 60]
        assert set(texts(await parse(plan(tmp_path, *[keep] * 6)))) == {"keep done"}

    async def test_some_bad_pages(self, tmp_path: Path, parse: Parse) -> None:
        document = await parse(plan(tmp_path, *[["segfault"]] * MAX_FAILED_PAGES, SAY[5]))
        assert texts(document) == ["parser_crashed"] * MAX_FAILED_PAGES + ["text 5"]

    async def test_too_many_bad_pages(self, tmp_path: Path, parse: Parse) -> None:
        with pytest.raises(errors.ParserCrashed):
            await parse(plan(tmp_path, *[["segfault"]] * (MAX_FAILED_PAGES + 1), SAY[6]))

    async def test_too_many_bad_pages_leave_what_was_read(self, tmp_path: Path, parse: Parse) -> None:
        document = await parse(plan(tmp_path, SAY[0], *[["segfault"]] * (MAX_FAILED_PAGES + 1), SAY[6], SAY[7]))
        assert texts(document) == ["text 0"] + ["parser_crashed"] * (MAX_FAILED_PAGES + 3)

    async def test_killed_from_outside(self, tmp_path: Path, parse: Parse) -> None:
        document = await parse(plan(tmp_path, SAY[0], ["once", ["kill"]], SAY[2]))
        assert texts(document) == ["text 0", "once done", "text 2"]


class TestDocument:
    """What goes wrong before any page, or in a format without pages, costs the document; a crash is tried twice."""

    @pytest.mark.parametrize(
        ("step", "error"),
        [("segfault", errors.ParserCrashed), ("hang", errors.ParserTimedOut), ("eat", errors.ParserOutOfMemory)],
    )
    async def test_without_pages(self, tmp_path: Path, parse: Parse, step: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            await parse(plan(tmp_path, [step]), page_seconds=2 if step == "hang" else 30)

    @pytest.mark.parametrize(
        ("step", "error"),
        [("segfault", errors.ParserCrashed), ("hang", errors.ParserTimedOut), ("eat", errors.ParserOutOfMemory)],
    )
    async def test_before_the_first_page(self, tmp_path: Path, parse: Parse, step: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            await parse(plan(tmp_path, SAY[0], SAY[1], before=[step]), page_seconds=2 if step == "hang" else 30)

    async def test_a_crash_is_tried_again(self, tmp_path: Path, parse: Parse) -> None:
        assert texts(await parse(plan(tmp_path, SAY[0], before=["once", ["segfault"]]))) == ["text 0"]

    async def test_pages_not_counted_in_advance(self, tmp_path: Path, parse: Parse) -> None:
        assert texts(await parse(plan(tmp_path, SAY[0], ["once", ["segfault"]], count=None))) == ["text 0", "once done"]

    async def test_total_time(self, tmp_path: Path, parse: Parse) -> None:
        with pytest.raises(errors.ParserTimedOut, match="document"):
            await parse(plan(tmp_path, ["hang"], SAY[1]), parse_seconds=1.5)

    async def test_total_time_leaves_what_was_read(self, tmp_path: Path) -> None:
        """A long scan gets more time for each page that was recognised, as long as there is any."""
        path = plan(tmp_path, *[["scan", 0.5]] * 8)
        long, short = [texts(await self._warm(path, seconds)) for seconds in (60, 0)]
        assert long == ["scan done"] * 8
        assert len(short) == 8 and set(short) == {"scan done", "parser_timeout"}
        assert short == sorted(short, reverse=True)

    async def _warm(self, path: Path, ocr_seconds: float) -> model.ParsedDocument:
        """Read in three seconds and what is added to them, by a process whose start does not count."""
        sandbox = Sandbox(Limits(parse_seconds=3, ocr_seconds=ocr_seconds), concurrency=1, command=HOSTILE)
        try:
            await sandbox.start()
            await sandbox._idle[0].ready()
            return await sandbox.parse(path, "text/plain")
        finally:
            await sandbox.close()

    async def test_pages(self, tmp_path: Path, parse: Parse) -> None:
        with pytest.raises(errors.LimitExceeded, match="MAX_PAGES"):
            await parse(plan(tmp_path, *SAY[:4]), max_pages=3)

    async def test_text(self, tmp_path: Path, parse: Parse) -> None:
        with pytest.raises(errors.LimitExceeded, match="MAX_TEXT_CHARS"):
            await parse(plan(tmp_path, *SAY[:4]), max_text_chars=20)


class TestConfinement:
    """What a parser process may not do."""

    async def test_no_secrets(self, tmp_path: Path, parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATADISTILLER_DATABASE_URL", "postgresql://u:hush@h/d")
        assert "hush" not in texts(await parse(plan(tmp_path, ["env"])))[0]

    async def test_no_writing(self, tmp_path: Path, parse: Parse) -> None:
        target = tmp_path / "target"
        assert texts(await parse(plan(tmp_path, ["write", str(target)])))[0] in ("OSError", "PermissionError")
        assert not target.exists() or target.read_bytes() == b""

    async def test_output_of_libraries_is_no_answer(self, tmp_path: Path, parse: Parse) -> None:
        assert texts(await parse(plan(tmp_path, ["print"], SAY[1]))) == ["print done", "text 1"]


ANSWERS = {
    "nothing": "",
    "a huge length": "out(b'\\xff\\xff\\xff\\xff')",
    "no JSON": "out(b'\\0\\0\\0\\2{]')",
    "no object": "out(b'\\0\\0\\0\\1' + b'1')",
    "an unknown kind": "send(kind='surprise')",
    "a page before the header": "send(kind='page', number=1, text='', blocks=[], label='', problem=None)",
    "the end before the header": "send(kind='end')",
    "offsets beyond the text": "send(kind='header', parser='', media_type='', title='', page_count=1);"
    "send(kind='page', number=1, text='abc', blocks=[1, 0, 4, 0], label='', problem=None)",
    "a lone surrogate": "send(kind='header', parser='', media_type='', title='', page_count=1);"
    "send(kind='page', number=1, text='\\ud800', blocks=[], label='', problem=None)",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_lies_are_not_believed(tmp_path: Path, answer: str) -> None:
    program = (
        "import sys, json\n"
        "out = lambda data: (sys.stdout.buffer.write(data), sys.stdout.buffer.flush())\n"
        "def send(**m): body = json.dumps(m).encode(); out(len(body).to_bytes(4, 'big') + body)\n"
        f"send(kind='ready'); sys.stdin.buffer.read(4); {answer}"
    )
    sandbox = Sandbox(LIMITS, command=(sys.executable, "-c", program))
    with pytest.raises(errors.ParserCrashed):
        await sandbox.parse(plan(tmp_path, SAY[0]), "text/plain")
    await sandbox.close()


async def test_a_process_that_does_not_start(tmp_path: Path) -> None:
    sandbox = Sandbox(LIMITS, command=(sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(errors.TransientError, match="exit status 3"):
        await sandbox.parse(plan(tmp_path, SAY[0]), "text/plain")
    await sandbox.close()


class TestLife:
    """Processes are kept, replaced, and ended."""

    async def test_kept_and_replaced(self, tmp_path: Path) -> None:
        values = {name: getattr(LIMITS, name) for name in LIMITS.__slots__} | {"documents": 2}
        sandbox = Sandbox(Limits(**values), concurrency=1, command=HOSTILE)
        path = plan(tmp_path, ["pid"])
        pids = [texts(await sandbox.parse(path, "text/plain"))[0] for _ in range(4)]
        await sandbox.close()
        assert pids[0] == pids[1] != pids[2] == pids[3]

    async def test_replaced_when_it_kept_memory(self, tmp_path: Path) -> None:
        sandbox = Sandbox(LIMITS, concurrency=1, command=HOSTILE)
        before = texts(await sandbox.parse(plan(tmp_path, ["pid"], ["keep", 120]), "text/plain"))
        after = texts(await sandbox.parse(plan(tmp_path, ["pid"]), "text/plain"))
        await sandbox.close()
        assert before[0] != after[0]

    async def test_replaced_when_it_saw_a_password(self, tmp_path: Path) -> None:
        sandbox = Sandbox(LIMITS, concurrency=1, command=HOSTILE)
        path = plan(tmp_path, ["pid"])
        first = texts(await sandbox.parse(path, "text/plain", password="hush"))
        second = texts(await sandbox.parse(path, "text/plain"))
        await sandbox.close()
        assert first != second

    async def test_an_error_of_the_document_does_not_cost_the_process(self, tmp_path: Path) -> None:
        sandbox = Sandbox(LIMITS, concurrency=1, command=HOSTILE)
        before = texts(await sandbox.parse(plan(tmp_path, ["pid"]), "text/plain"))
        with pytest.raises(errors.ObjectMissing):
            await sandbox.parse(tmp_path / "missing", "text/plain")
        after = texts(await sandbox.parse(plan(tmp_path, ["pid"]), "text/plain"))
        await sandbox.close()
        assert before == after

    async def test_killed_while_idle(self, tmp_path: Path) -> None:
        sandbox = Sandbox(LIMITS, concurrency=1, command=HOSTILE)
        path = plan(tmp_path, ["pid"])
        first = texts(await sandbox.parse(path, "text/plain"))[0]
        os.kill(int(first), signal.SIGKILL)
        assert texts(await sandbox.parse(path, "text/plain"))[0] != first
        await sandbox.close()

    async def test_several_at_once(self, tmp_path: Path) -> None:
        others = psutil.Process().children()
        sandbox = Sandbox(LIMITS, concurrency=2, command=HOSTILE)
        await sandbox.start()
        path = plan(tmp_path, SAY[0], ["wait", 0.1])
        documents = await asyncio.gather(*(sandbox.parse(path, "text/plain") for _ in range(5)))
        assert len(started_since(others)) == 2
        await sandbox.close()
        assert [texts(document)[0] for document in documents] == ["text 0"] * 5

    async def test_cancelling_kills(self, tmp_path: Path) -> None:
        sandbox = Sandbox(LIMITS, concurrency=1, command=HOSTILE)
        started = asyncio.Event()

        async def on_page(read: int, count: int | None) -> None:
            assert (read, count) == (1, 2)
            started.set()

        task = asyncio.create_task(sandbox.parse(plan(tmp_path, SAY[0], ["hang"]), "text/plain", on_page))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert texts(await sandbox.parse(plan(tmp_path, SAY[1]), "text/plain")) == ["text 1"]
        await sandbox.close()

    async def test_what_the_caller_raises_ends_it(self, tmp_path: Path) -> None:
        sandbox = Sandbox(LIMITS, concurrency=1, command=HOSTILE)

        async def on_page(read: int, count: int | None) -> None:
            raise errors.LeaseLost

        with pytest.raises(errors.LeaseLost):
            await sandbox.parse(plan(tmp_path, SAY[0], ["hang"]), "text/plain", on_page)
        await sandbox.close()

    @pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's; elsewhere a busy child lives on")
    async def test_dies_with_its_parent(self, tmp_path: Path) -> None:
        program = (
            "import asyncio, sys\nfrom pathlib import Path\n"
            "from datadistiller.runtime.sandbox import Limits, Sandbox\n"
            "async def main():\n"
            f"    sandbox = Sandbox(Limits(), command={HOSTILE!r})\n"
            f"    async def on_page(read, count): print('started', flush=True)\n"
            f"    await sandbox.parse(Path({str(plan(tmp_path, ['pid'], ['hang']))!r}), 'text/plain', on_page)\n"
            "asyncio.run(main())\n"
        )
        env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert parent.stdout is not None
        assert b"started\n" in [await parent.stdout.readline() for _ in range(2)]  # a line of the log comes first
        children = psutil.Process(parent.pid).children()
        parent.kill()
        await parent.wait()
        gone, alive = await asyncio.to_thread(psutil.wait_procs, children, 30)
        assert len(gone) == 1
        assert alive == []


async def test_the_real_parsers(tmp_path: Path) -> None:
    """Every format through the real process; what is wrong with a file keeps its name."""
    sandbox = Sandbox(Limits(), concurrency=1)
    for media_type in formats.BY_MEDIA_TYPE:
        document = await sandbox.parse(files.sample(tmp_path, media_type), media_type)
        assert document.media_type == media_type
        assert "Of Ducks" in document.pages[0].text
    with pytest.raises(errors.EncryptedDocument):
        await sandbox.parse(files.encrypted_pdf(tmp_path / "a.pdf"), formats.PDF)
    nested = tmp_path / "a.json"
    nested.write_text("[" * 100_000)
    with pytest.raises(errors.DamagedDocument, match="nested"):
        await sandbox.parse(nested, formats.JSON)
    await sandbox.close()


def test_the_hostile_parser_is_not_a_real_one() -> None:
    """No variable and no request reaches it: the command is injected by tests alone."""
    from datadistiller.runtime import sandbox

    assert sandbox.COMMAND[-2:] == ("-m", "datadistiller.parsing.child")
    assert hostile_child.HostileParser.name not in " ".join(sandbox.COMMAND)
