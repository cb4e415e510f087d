"""The local index after a kill -9 in the middle of commits, and with damaged files: it opens, true."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from datadistiller.indexing import Entry
from datadistiller.indexing.local import LocalIndex

DIM = 16
THRESHOLD = 150  # small: segments are sealed and merged all the time


def entry(number: int, turn: int) -> Entry:
    """Chunk ``number`` as written in a turn; its id and text tell the turn."""
    values = np.random.default_rng(number).standard_normal(DIM)
    vector = (values / np.linalg.norm(values)).astype(np.float16)
    return Entry(number, UUID(int=turn << 64 | number), number % 7, vector, "", f"n{number} n{number}t{turn} all")


def batch(turn: int) -> tuple[list[int], list[int]]:
    """The numbers added and removed in a turn."""
    dice = random.Random(turn)
    numbers = dice.sample(range(600), 60)
    return numbers[:45], numbers[45:]


def state_after(turn: int) -> dict[int, UUID]:
    """What the index holds after that turn."""
    held: dict[int, UUID] = {}
    for each in range(1, turn + 1):
        added, removed = batch(each)
        held |= {number: entry(number, each).chunk_id for number in added}
        held = {number: chunk_id for number, chunk_id in held.items() if number not in removed}
    return held


async def write(folder: Path, first: int, last: int) -> None:
    index = LocalIndex(folder, DIM, "a", THRESHOLD)
    for turn in range(first, last):
        added, removed = batch(turn)
        await index.add([entry(number, turn) for number in added])
        await index.remove(removed)
        await index.commit()
        sys.stdout.write(f"{turn}\n")
        sys.stdout.flush()
    await index.settle()
    await index.close()


async def assert_sound(index: LocalIndex, held: dict[int, UUID]) -> None:
    """Both halves agree: each chunk is found by its own version's word, and nothing else is."""
    assert sorted((await index.keyword_search("all", 2000)).numbers.tolist()) == sorted(held)
    found = await index.vector_search(entry(1, 1).vector.astype(np.float32), 2000)
    assert sorted(found.numbers.tolist()) == sorted(held)
    for number, chunk_id in held.items():
        word = f"n{number}t{chunk_id.int >> 64}"
        assert (await index.keyword_search(word, 5)).numbers.tolist() == [number]


@pytest.mark.parametrize("seed", range(3))
async def test_killed_in_the_middle_of_commits(tmp_path: Path, seed: int) -> None:
    folder, dice, turn = tmp_path / "index", random.Random(seed), 0
    for _ in range(4):
        command = (sys.executable, __file__, str(folder), str(turn + 1))
        writer = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONPATH": "src"}
        )
        assert writer.stdout
        for _ in range(dice.randrange(2, 25)):
            turn = int(await writer.stdout.readline())
        await asyncio.sleep(dice.random() / 20)
        writer.kill()
        rest = (await writer.communicate())[0].split()
        turn = int(rest[-1]) if rest else turn
        before, after = state_after(turn), state_after(turn + 1)
        index = LocalIndex(folder, DIM, "a", THRESHOLD)
        held = await index.contents()
        assert all(chunk_id in (before.get(number), after.get(number)) for number, chunk_id in held.items())
        untouched = {number: chunk_id for number, chunk_id in before.items() if after.get(number) == chunk_id}
        assert untouched.items() <= held.items(), "what the killed commit did not touch is still there"
        await assert_sound(index, held)
        await follow_up(index, held, before)
        assert await index.contents() == before
        await index.close()


async def follow_up(index: LocalIndex, held: dict[int, UUID], wanted: dict[int, UUID]) -> None:
    """What the follower does with the difference."""
    missing = [(number, chunk_id) for number, chunk_id in wanted.items() if held.get(number) != chunk_id]
    await index.add([entry(number, chunk_id.int >> 64) for number, chunk_id in missing])
    await index.remove([number for number in held if number not in wanted])
    await index.commit()


def files_of(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def flip(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def halve(path: Path, dice: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])


def remove(path: Path, dice: random.Random) -> None:
    path.unlink()


def scribble(path: Path, dice: random.Random) -> None:
    path.write_bytes(dice.randbytes(path.stat().st_size))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with sealed segments, a log and several tantivy segments with deleted documents."""
    folder = tmp_path_factory.mktemp("sound") / "index"
    asyncio.run(write(folder, 1, 20))
    kinds = {path.suffix or path.name.split("-")[0] for path in folder.rglob("*") if path.is_file()}
    assert {".rows", ".graph", "log", "manifest", ".idx", ".term", ".fast", ".del"} <= kinds
    return folder


@pytest.mark.parametrize(("damage", "seed"), [(flip, 1), (flip, 2), (halve, 3), (remove, 4), (scribble, 5)])
async def test_damage_to_any_file_costs_no_more_than_a_repair(
    sound: Path, tmp_path: Path, damage: Callable[[Path, random.Random], None], seed: int
) -> None:
    wanted = state_after(19)
    dice = random.Random(seed)
    for file in files_of(sound):
        folder = tmp_path / "index"
        shutil.copytree(sound, folder)
        damage(folder / file, dice)
        index = LocalIndex(folder, DIM, "a", THRESHOLD)
        held = await index.contents()
        assert held.items() <= wanted.items(), f"{file} made the index hold what it should not"
        await assert_sound(index, held)
        await follow_up(index, held, wanted)
        assert await index.contents() == wanted
        await index.close()
        shutil.rmtree(folder)


async def test_a_commit_torn_by_a_kill_costs_nothing(sound: Path, tmp_path: Path) -> None:
    """What it had begun to write, under whatever name, neither spoils what was committed nor the next commit."""
    folder, wanted = tmp_path / "index", state_after(19)
    shutil.copytree(sound, folder)
    meta = json.loads((folder / "keywords" / "meta.json").read_text())
    for segment in meta["segments"]:
        for opstamp in range(meta["opstamp"] + 1, meta["opstamp"] + 200):
            (folder / "keywords" / f"{segment['segment_id'].replace('-', '')}.{opstamp}.del").write_bytes(b"torn")
    index = LocalIndex(folder, DIM, "a", THRESHOLD)
    assert await index.contents() == wanted
    added, removed = batch(20)
    await index.add([entry(number, 20) for number in added])
    await index.remove(removed)
    await index.commit()
    assert await index.contents() == state_after(20)
    await assert_sound(index, state_after(20))
    await index.close()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2]), 100_000))
