"""Keywords on disk: a tantivy index of the chunks' texts, searched by BM25.

tantivy's own commit is its durability; what it does not check by itself when it opens, the checksums in its files'
footers, is checked here. Questions never meet a query parser: their words become a plain OR.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tantivy
from numpy.typing import NDArray

from datadistiller import errors
from datadistiller.indexing import Hits, questions

#: The least tantivy accepts; one thread, because it shares two cores with everything else.
WRITER_BYTES = 15_000_000
#: Above this share of the rows a filter keeps, hits are filtered after the search instead of inside it.
DENSE_SHARE = 0.05
#: What each of tantivy's segments consists of, besides a list of deleted documents; some are opened by a search only.
SEGMENT_FILES = ("fast", "fieldnorm", "idx", "pos", "store", "term")
#: tantivy's file that names the committed state.
META = "meta.json"
#: Magic number at the end of tantivy's files, after the length of the footer.
FOOTER_MAGIC = 1337

_FOOTER = struct.Struct("<II")


class Damaged(Exception):
    """The files are not a keyword index that can be used; they are only good for deleting."""


def check_files(folder: Path) -> None:
    """Compares every file of the committed state with the checksum in its footer. Raises ``Damaged``.

    Files that it does not name are left over from a commit or a merge that a kill ended. They are removed, torn or not:
    tantivy never overwrites, so the next commit would stumble over its own name.
    """
    wanted = _committed(json.loads((folder / META).read_text()))
    present = {file.name for file in folder.iterdir() if not file.name.startswith(".")}
    for name in sorted(wanted):
        if name not in present or not _intact((folder / name).read_bytes()):
            raise Damaged(f"{name} is missing or does not match its checksum")
    for name in present - wanted - {META}:
        (folder / name).unlink()


def _committed(meta: dict[str, Any]) -> set[str]:
    """The names of the files that make up the committed state."""
    names = set()
    for segment in meta["segments"]:
        stem = segment["segment_id"].replace("-", "")
        names |= {f"{stem}.{part}" for part in SEGMENT_FILES}
        if segment["deletes"]:
            names.add(f"{stem}.{segment['deletes']['opstamp']}.del")
    return names


def _intact(content: bytes) -> bool:
    if len(content) < _FOOTER.size:
        return False
    length, magic = _FOOTER.unpack_from(content, len(content) - _FOOTER.size)
    end = len(content) - _FOOTER.size - length
    if magic != FOOTER_MAGIC or end < 0:
        return False
    footer = json.loads(content[end : end + length])
    return bool(zlib.crc32(memoryview(content)[:end]) == footer["crc"])


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """tantivy raises ValueError for everything, and lets Rust panics through as BaseException."""
    try:
        yield
    except ValueError as error:
        raise errors.StoreUnavailable(f"The keyword index failed while {doing}: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise errors.StoreUnavailable(f"The keyword index failed while {doing}.") from error


def _analyzer(stemmed: bool = True) -> Any:
    """Words in lower case without accents, 64 bytes at most; and their English stems, if asked for."""
    filters = [tantivy.Filter.remove_long(64), tantivy.Filter.lowercase(), tantivy.Filter.ascii_fold()]
    if stemmed:
        filters.append(tantivy.Filter.stemmer("english"))
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    for each in filters:
        builder = builder.filter(each)
    return builder.build()


def _schema() -> Any:
    builder = tantivy.SchemaBuilder()
    # Signed, because the binding makes a signed term of every int: deleting by one finds nothing in unsigned fields.
    builder.add_integer_field("chunk_no", indexed=True, fast=True)
    builder.add_integer_field("job_no", indexed=True, fast=True)
    builder.add_integer_field("stamp", fast=True)
    builder.add_text_field("text", tokenizer_name="words", index_option="freq")
    return builder.build()


def _scores(hits: Sequence[Any]) -> NDArray[np.float32]:
    return np.array([score for score, _ in hits], dtype=np.float32)


def _ordered(numbers: NDArray[np.int64], scores: NDArray[np.float32]) -> Hits:
    """Best first, equal scores by chunk number."""
    order = np.lexsort((numbers, -scores))
    return Hits(numbers[order], scores[order])


class Keywords:
    """The writer's side of the index: one instance, one thread. Searchers it returns belong to any thread."""

    def __init__(self, folder: Path) -> None:
        """Opens the index in the folder, or begins one where there is none. Raises ``errors.StoreUnavailable``."""
        self._analyzer = _analyzer()
        self.schema = _schema()
        with translated("opening"):
            self._index = tantivy.Index(self.schema, path=str(folder))
            self._index.register_tokenizer("words", self._analyzer)
            self._index.config_reader("manual", 0)
            self._writer = self._index.writer(heap_size=WRITER_BYTES, num_threads=1)

    def add(self, number: int, job: int, stamp: int, text: str) -> None:
        """Adds the text of a chunk; seen by searchers made after ``commit``."""
        document = tantivy.Document()
        document.add_integer("chunk_no", number)
        document.add_integer("job_no", job)
        document.add_integer("stamp", stamp)
        document.add_text("text", questions.spaced(text))
        self._writer.add_document(document)

    def remove(self, number: int) -> None:
        """Removes what was added with this chunk number so far."""
        self._writer.delete_documents_by_term("chunk_no", number)

    def commit(self) -> KeywordSearcher:
        """Makes the changes durable and gives a searcher that sees them."""
        self._writer.commit()
        return self.searcher()

    def searcher(self) -> KeywordSearcher:
        """A searcher over what is committed."""
        self._index.reload()
        return KeywordSearcher(self._index.searcher(), self.schema, self._analyzer)

    def close(self) -> None:
        """Lets go of the folder; uncommitted changes are dropped."""
        del self._writer
        del self._index


class KeywordSearcher:
    """A committed state of the index. It never changes; safe for several threads."""

    def __init__(self, searcher: Any, schema: Any, analyzer: Any) -> None:
        self._searcher = searcher
        self._schema = schema
        self._analyzer = analyzer
        self._plain = _analyzer(stemmed=False)

    @property
    def entries(self) -> int:
        """Number of documents."""
        return int(self._searcher.num_docs)

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Chunk numbers and stamps of all documents."""
        count = self.entries
        if not count:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        addresses = [a for _, a in self._searcher.search(tantivy.Query.all_query(), count, count=False).hits]
        return self._column("chunk_no", addresses), self._column("stamp", addresses)

    def search(self, question: str, limit: int, allowed: NDArray[np.int64] | None, share: float) -> Hits:
        """The ``limit`` best documents of the allowed jobs. ``share``: which part of the rows these hold, 0 to 1."""
        terms = self.words(question)
        if limit <= 0 or not terms or not self.entries or share <= 0:
            return Hits(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
        should = tantivy.Occur.Should
        query = tantivy.Query.boolean_query(
            [(should, tantivy.Query.term_query(self._schema, "text", term, "freq")) for term in terms]
        )
        if allowed is None:
            return self._best(query, limit)
        if share < DENSE_SHARE:
            jobs = tantivy.Query.term_set_query(self._schema, "job_no", allowed.tolist())
            must = tantivy.Occur.Must
            inside = (must, tantivy.Query.const_score_query(jobs, 0.0))
            return self._best(tantivy.Query.boolean_query([(must, query), inside]), limit)
        return self._best_filtered(query, limit, allowed, share)

    def words(self, question: str) -> list[str]:
        """The distinct index terms of a question, in its order: without stop words if any other word is there."""
        plain = self._plain.analyze(questions.spaced(question[: questions.MAX_CHARS]))
        return list(dict.fromkeys(self._analyzer.analyze(" ".join(questions.weighty(plain)))))

    def _best(self, query: Any, limit: int) -> Hits:
        hits = self._searcher.search(query, limit, count=False).hits
        return _ordered(self._column("chunk_no", [a for _, a in hits]), _scores(hits))

    def _best_filtered(self, query: Any, limit: int, allowed: NDArray[np.int64], share: float) -> Hits:
        """Filters the best hits of all jobs, taking more of them until enough are left: exact, and fast if dense."""
        fetch = int(limit / share * 1.5) + 50
        while True:
            hits = self._searcher.search(query, fetch, count=False).hits
            addresses = [a for _, a in hits]
            inside = np.flatnonzero(np.isin(self._column("job_no", addresses), allowed))[:limit]
            if len(inside) == limit or len(hits) < fetch:
                numbers = self._column("chunk_no", [addresses[i] for i in inside])
                return _ordered(numbers, _scores([hits[i] for i in inside]))
            fetch *= 4

    def _column(self, field: str, addresses: Sequence[Any]) -> NDArray[np.int64]:
        return np.array(self._searcher.fast_field_values(field, list(addresses)), dtype=np.int64)
