"""Vectors and keywords together, on disk: opening, repairing, committing. Used by one thread at a time.

Both halves hold the same rows. Each row written gets a stamp that both remember; what is in only one half after
a crash (one had committed, the other not) shows as a stamp without its twin and is dropped from both.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import numpy as np
import structlog
from numpy.typing import NDArray

from datadistiller import errors
from datadistiller.indexing import Entry
from datadistiller.indexing import local_files as files
from datadistiller.indexing import local_keywords as keywords
from datadistiller.indexing import local_sealing as sealing
from datadistiller.indexing import local_vectors as vectors

#: The log is written anew when it is this many bytes, and twice what its live rows take.
LOG_BYTES = 32_000_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """What searches see: one committed state of both halves."""

    parts: vectors.Parts = ()
    keywords: keywords.KeywordSearcher | None = None


class LocalStore:
    """An open index folder. ``view`` is its committed state."""

    def __init__(self, folder: Path, dim: int, fingerprint: str, threshold: int) -> None:
        """Opens the folder; what cannot be used of it is dropped with a line in the log.

        Raises ``errors.SetupError`` if the folder is in use or cannot be written.
        """
        self._folder = folder
        self._dim = dim
        self._threshold = threshold
        self._block_rows = min(vectors.BLOCK_ROWS, threshold)
        self._lock = _lock(folder)
        try:
            self._open(fingerprint)
        except BaseException:
            self._lock.close()
            raise

    def _open(self, fingerprint: str) -> None:
        try:
            self._manifest = self._read_manifest(fingerprint)
            parts = self._read_parts()
            self._keywords, searcher = _open_keywords(self._folder / "keywords")
            self.view = View(parts, searcher)
            self._repair()
        except OSError as error:
            raise errors.SetupError(
                f"The index folder {self._folder} cannot be used: {error.strerror}.",
                hint="Make the folder writable and free disk space; the index in it may be deleted at any time.",
            ) from error

    def _read_manifest(self, fingerprint: str) -> files.Manifest:
        manifest = None
        try:
            manifest = files.Manifest.read(self._folder)
            if manifest and (manifest.fingerprint, manifest.dim) != (fingerprint, self._dim):
                raise files.Damaged("the index was made for another embedding model")
        except (files.Damaged, ValueError, KeyError, TypeError) as error:
            log.warning("index_dropped", reason=str(error), action="it is filled again from the database")
            manifest = None
        if manifest is None:
            manifest = files.Manifest(fingerprint, self._dim, _new_log())
            shutil.rmtree(self._folder / "keywords", ignore_errors=True)
            manifest.write(self._folder)
        files.remove_others(self._folder, manifest)
        return manifest

    def _read_parts(self) -> vectors.Parts:
        parts: vectors.Parts = ()
        good = []
        for sealed in self._manifest.segments:
            try:
                parts += (vectors.Part(files.read_segment(self._folder, sealed)),)
                good.append(sealed)
            except (files.Damaged, RuntimeError, ValueError) as error:  # FAISS raises RuntimeError
                log.warning("index_segment_dropped", reason=str(error), rows=sealed.rows)
        self._manifest = replace(self._manifest, segments=tuple(good))
        self._log = files.Log(self._folder / self._manifest.log)
        end = 0
        for record, size in files.read_log(self._log.path, self._dim):
            parts = vectors.append(vectors.kill(parts, record.dead), record.added, self._block_rows)
            end = size
        if end < self._log.size:
            log.warning("index_log_cut", lost_bytes=self._log.size - end)
            self._log.rewind(end)
        return parts

    def _repair(self) -> None:
        """Drops what only one half has, or what the halves do not agree on."""
        assert self.view.keywords
        rows = vectors.live_columns(self.view.parts)
        numbers, stamps = self.view.keywords.pairs()
        self._next_stamp = 1 + max(0, int(stamps.max(initial=0)), *(p.segment.newest for p in self.view.parts), 0)
        row_pairs, document_pairs = _paired(rows.numbers, rows.stamps), _paired(numbers, stamps)
        both = np.intersect1d(row_pairs, document_pairs)
        lonely = numbers[~np.isin(document_pairs, both)]
        gone = np.unique(np.concatenate([lonely, _repeated(rows.numbers), _repeated(numbers)]))
        dead = ~np.isin(row_pairs, both) | np.isin(rows.numbers, gone)
        if len(gone) or dead.any():
            log.warning("index_repaired", dropped_rows=int(dead.sum()), dropped_texts=len(gone))
            self._write(files.empty_batch(self._dim), (), rows.stamps[dead], gone)

    def commit(self, entries: Sequence[Entry], removed: Sequence[int]) -> None:
        """Replaces and removes chunks in both halves; ``view`` has them afterwards.

        On any error the folder is as before, or is repaired by opening it again; this object is not used again.
        """
        batch = self._batch(entries)
        touched = np.concatenate([batch.columns.numbers, np.array(removed, dtype=np.int64)])
        old = vectors.find(self.view.parts, touched)
        self._write(batch, entries, old.stamps, old.numbers)

    def _batch(self, entries: Sequence[Entry]) -> vectors.Batch:
        if not entries:
            return files.empty_batch(self._dim)
        for entry in entries:
            if entry.vector.shape != (self._dim,):
                raise errors.BrokenInvariant(f"The vector of chunk {entry.chunk_no} has not {self._dim} dimensions.")
        codes = np.stack([entry.vector for entry in entries]).astype(np.float16, copy=False)
        first = self._next_stamp
        self._next_stamp += len(entries)
        columns = vectors.Columns(
            np.array([entry.chunk_no for entry in entries], dtype=np.int64),
            np.array([entry.job_no for entry in entries], dtype=np.int64),
            np.arange(first, first + len(entries), dtype=np.int64),
            np.frombuffer(b"".join(entry.chunk_id.bytes for entry in entries), dtype=np.uint8).reshape(-1, 16),
        )
        return vectors.Batch(columns, codes)

    def _write(
        self, batch: vectors.Batch, entries: Sequence[Entry], dead: NDArray[np.int64], gone: NDArray[np.int64]
    ) -> None:
        self._log.append(files.Record(batch, dead))
        with keywords.translated("committing"):
            for number in gone.tolist():
                self._keywords.remove(number)
            for entry, stamp in zip(entries, batch.columns.stamps.tolist(), strict=True):
                self._keywords.add(entry.chunk_no, entry.job_no, stamp, f"{entry.context}\n{entry.text}")
            searcher = self._keywords.commit()
        parts = vectors.append(vectors.kill(self.view.parts, dead), batch, self._block_rows)
        if searcher.entries != vectors.entries(parts):
            raise errors.StoreUnavailable("The two halves of the search index do not hold the same chunks.")
        self.view = View(parts, searcher)

    def plan(self, *, idle: bool) -> vectors.Parts:
        """What should be sealed or merged now, none if nothing."""
        return sealing.plan(self.view.parts, self._threshold, idle=idle)

    def adopt(self, sources: vectors.Parts, built: sealing.Sealed | None) -> None:
        """Puts a sealed segment in the place of the parts it was built from; None if no row of them was live.

        Rows that died while it was built are dead in it too.
        """
        old = {id(part.segment) for part in sources}
        kept = tuple(part for part in self.view.parts if id(part.segment) not in old)
        sealed = [each for each in self._manifest.segments if each.name in {part.segment.name for part in kept}]
        new: vectors.Parts = ()
        alive = vectors.live_columns(tuple(part for part in self.view.parts if id(part.segment) in old)).stamps
        if built is not None and len(alive):
            live = np.isin(built[1].columns.stamps, alive)
            new = (vectors.Part(built[1], None if live.all() else live),)
            sealed.append(built[0])
        parts = (*(p for p in kept if p.sealed), *new, *(p for p in kept if not p.sealed))
        self._checkpoint(parts, tuple(sealed))
        self.view = replace(self.view, parts=parts)

    def tidy(self) -> None:
        """Joins small blocks, and writes the log anew if most of it is history.

        Not while a segment is built: each stamp must be in one segment only, or a dead row here kills a live one there.
        """
        self.view = replace(self.view, parts=vectors.joined(self.view.parts, self._block_rows))
        blocks = tuple(part for part in self.view.parts if not part.sealed)
        needed = vectors.entries(blocks) * (files.ROW_BYTES + 2 * self._dim)
        if self._log.size < LOG_BYTES or self._log.size < 2 * needed:
            return
        rows = vectors.Batch.join([files.empty_batch(self._dim), *(part.rows() for part in blocks)])
        parts = vectors.append(tuple(p for p in self.view.parts if p.sealed), rows, self._block_rows)
        self._checkpoint(parts, self._manifest.segments)
        self.view = replace(self.view, parts=parts)

    def _checkpoint(self, parts: vectors.Parts, sealed: tuple[files.SealedFile, ...]) -> None:
        """Begins a log that holds only what the sealed files do not, and makes both count."""
        fresh = files.Log(self._folder / _new_log())
        stamps = [part.segment.columns.stamps[~part.live] for part in parts if part.sealed and part.live is not None]
        dead = np.concatenate([vectors.NO_LONGS, *stamps])
        fresh.append(files.Record(files.empty_batch(self._dim), dead))
        for part in parts:
            if not part.sealed:
                fresh.append(files.Record(part.rows(), vectors.NO_LONGS))
        fresh.sync()
        manifest = replace(self._manifest, log=fresh.path.name, segments=sealed)
        manifest.write(self._folder)
        self._log.close()
        self._log, self._manifest = fresh, manifest
        files.remove_others(self._folder, manifest)

    def close(self) -> None:
        """Lets go of the folder; its view stays good for searching."""
        self._log.close()
        self._keywords.close()
        self._lock.close()


def _new_log() -> str:
    return f"log-{uuid4().hex}"


def _paired(numbers: NDArray[np.int64], stamps: NDArray[np.int64]) -> NDArray[np.complex128]:
    """Number and stamp as one comparable value: exact up to 2^53."""
    return numbers.astype(np.float64) + 1j * stamps.astype(np.float64)


def _repeated(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    values, counts = np.unique(numbers, return_counts=True)
    return values[counts > 1]


def _lock(folder: Path) -> BinaryIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("wb")
    except OSError as error:
        raise errors.SetupError(
            f"The index folder {folder} cannot be written: {error.strerror}.",
            hint="Make the folder writable, or choose another DATADISTILLER_DATA_DIR.",
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise errors.SetupError(
            f"The index in {folder} is in use by another process.",
            hint="Stop the other datadistiller that runs on this data folder.",
        ) from error
    return file


def _open_keywords(folder: Path) -> tuple[keywords.Keywords, keywords.KeywordSearcher]:
    """The keyword index of the folder, or a new one if there is none or it is damaged."""
    if folder.exists():
        try:
            keywords.check_files(folder)
            opened = keywords.Keywords(folder)
            with keywords.translated("opening"):
                searcher = opened.searcher()
                searcher.pairs()
            return opened, searcher
        except (keywords.Damaged, errors.StoreUnavailable, ValueError, KeyError, TypeError, OSError) as error:
            log.warning("keyword_index_dropped", reason=str(error), action="it is filled again from the database")
            shutil.rmtree(folder)
    folder.mkdir()
    opened = keywords.Keywords(folder)
    return opened, opened.searcher()
