"""The index's files: a manifest, sealed segments, and a log of what came after them. Every byte has a checksum.

    manifest          JSON behind its CRC-32: format, fingerprint, dim, the segments and the log that count
    segment-N.rows    columns of a sealed segment        segment-N.graph   its vectors and HNSW graph, by FAISS
    log-N             records appended by commits: new rows with vectors, stamps of rows that died
    keywords/         tantivy's own

Files are written under another name, synced and renamed; what the manifest does not name does not count. Numbers
are little endian. The log is not synced at each commit: a crash of the machine may cost its end, which opening
notices and the follower brings again.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datadistiller.indexing.local_vectors import NO_COLUMNS, Batch, Columns, Segment, faiss, make_segment

#: Changed when files of an older form cannot be read: they are then built again.
FORMAT = 1
MANIFEST = "manifest"
ROW_BYTES = 8 + 8 + 8 + 16  # of a row's columns

_RECORD = struct.Struct("<4sIII")  # magic, new rows, dead rows, CRC-32 of what follows
_MAGIC = b"DDL1"


class Damaged(Exception):
    """A file does not hold what was written; the message names it."""


@dataclass(frozen=True, slots=True)
class SealedFile:
    """What the manifest says of a sealed segment."""

    name: str
    rows: int
    rows_crc: int
    graph_crc: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which files count."""

    fingerprint: str
    dim: int
    log: str
    segments: tuple[SealedFile, ...] = ()

    def write(self, folder: Path) -> None:
        """Makes this the manifest of the folder, atomically."""
        body = json.dumps({"format": FORMAT, **asdict(self)}).encode()
        write_atomic(folder / MANIFEST, b"%08x\n" % zlib.crc32(body) + body)

    @staticmethod
    def read(folder: Path) -> Manifest | None:
        """The folder's manifest, None if it has none. Raises ``Damaged`` also for one of another format."""
        try:
            content = (folder / MANIFEST).read_bytes()
        except FileNotFoundError:
            return None
        crc, _, body = content.partition(b"\n")
        if crc != b"%08x" % zlib.crc32(body):
            raise Damaged("the manifest does not match its checksum")
        fields = json.loads(body)
        if fields.pop("format") != FORMAT:
            raise Damaged("the manifest is of another format version")
        segments = tuple(SealedFile(**each) for each in fields.pop("segments"))
        return Manifest(segments=segments, **fields)

    def names(self) -> set[str]:
        """The names of all files that count."""
        sealed = {f"{each.name}{suffix}" for each in self.segments for suffix in (".rows", ".graph")}
        return {MANIFEST, self.log, *sealed}


def write_atomic(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    publish(temporary, path)


def publish(temporary: Path, path: Path) -> None:
    """Syncs a finished file and gives it its name."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            crc = zlib.crc32(piece, crc)
    return crc


def write_segment(folder: Path, name: str, columns: Columns, graph: object) -> SealedFile:
    """Writes the files of a sealed segment; they count once a manifest names them."""
    write_atomic(folder / f"{name}.rows", _pack_columns(columns))
    path = folder / f"{name}.graph"
    temporary = path.with_name(path.name + ".tmp")
    faiss.write_index(graph, str(temporary))
    crc = checksum(temporary)
    publish(temporary, path)
    return SealedFile(name, len(columns.numbers), checksum(folder / f"{name}.rows"), crc)


def read_segment(folder: Path, sealed: SealedFile) -> Segment:
    """A sealed segment, its vectors and graph mapped from the file. Raises ``Damaged``."""
    rows, graph_file = folder / f"{sealed.name}.rows", folder / f"{sealed.name}.graph"
    for path, crc in ((rows, sealed.rows_crc), (graph_file, sealed.graph_crc)):
        if not path.exists() or checksum(path) != crc:
            raise Damaged(f"{path.name} does not match its checksum")
    graph = faiss.read_index(str(graph_file), faiss.IO_FLAG_MMAP_IFC)
    columns = _unpack_columns(rows.read_bytes(), sealed.rows)
    return make_segment(columns, faiss.downcast_index(graph.storage), graph, sealed.name)


def _pack_columns(columns: Columns) -> bytes:
    return b"".join(a.tobytes() for a in (columns.numbers, columns.jobs, columns.stamps, columns.ids))


def _unpack_columns(content: bytes, rows: int) -> Columns:
    longs = np.frombuffer(content, dtype="<i8", count=3 * rows).reshape(3, rows)
    ids = np.frombuffer(content, dtype=np.uint8, offset=24 * rows, count=16 * rows).reshape(rows, 16)
    return Columns(longs[0], longs[1], longs[2], ids)


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One commit: the rows that came and the stamps of those that went, which is applied first."""

    added: Batch
    dead: NDArray[np.int64]


class Log:
    """The log file, open for appending. ``size`` is where its good part ends, bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self.size = path.stat().st_size

    def append(self, record: Record) -> None:
        """Adds a record; not synced. Raises OSError, after which ``rewind`` takes the torn end away."""
        body = b"".join((record.dead.tobytes(), _pack_columns(record.added.columns), record.added.codes.tobytes()))
        head = _RECORD.pack(_MAGIC, len(record.added), len(record.dead), zlib.crc32(body))
        left = memoryview(head + body)
        while left:
            left = left[self._file.write(left) :]
        self.size += _RECORD.size + len(body)

    def rewind(self, size: int) -> None:
        """Cuts the log back to an earlier size."""
        self._file.truncate(size)
        self.size = size

    def sync(self) -> None:
        """Waits until the records are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()


def read_log(path: Path, dim: int) -> Iterator[tuple[Record, int]]:
    """The good records of a log, each with the size of the log up to its end; ends at the first damage."""
    with path.open("rb") as file:
        size, left = 0, path.stat().st_size
        while (head := file.read(_RECORD.size)) and len(head) == _RECORD.size:
            magic, added, dead, crc = _RECORD.unpack(head)
            length = added * (ROW_BYTES + 2 * dim) + 8 * dead
            if magic != _MAGIC or length > left:
                return
            body = file.read(length)
            if len(body) != length or zlib.crc32(body) != crc:
                return
            size += _RECORD.size + length
            yield _unpack(body, added, dead, dim), size


def _unpack(body: bytes, rows: int, dead: int, dim: int) -> Record:
    at = 8 * dead
    codes = np.frombuffer(body, dtype="<f2", offset=at + rows * ROW_BYTES, count=rows * dim).reshape(rows, dim)
    columns = _unpack_columns(body[at : at + rows * ROW_BYTES], rows)
    return Record(Batch(columns, codes), np.frombuffer(body, dtype="<i8", count=dead))


def remove_others(folder: Path, manifest: Manifest) -> None:
    """Deletes the index's files that the manifest does not name: leftovers of a crash, or replaced ones."""
    names = manifest.names()
    for path in folder.iterdir():
        ours = path.name.startswith(("log-", "segment-", f"{MANIFEST}.tmp"))
        if ours and path.name not in names:
            path.unlink(missing_ok=True)


def empty_batch(dim: int) -> Batch:
    """No rows."""
    return Batch(NO_COLUMNS, np.empty((0, dim), dtype=np.float16))
