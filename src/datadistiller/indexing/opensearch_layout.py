"""Pure: what the index of one model is called in OpenSearch, what is in it, and how chunks and answers are written.

    alias      PREFIX-MODEL                what searches use
    index      PREFIX-MODEL-BUILD          one per model and build
    alias      PREFIX-MODEL-BUILD-wEPOCH   what its one writer uses: a new leader takes it away from the one before

``MODEL`` is a hash of the model's fingerprint. A document is a chunk and its id is the chunk's number. Texts and
vectors are not kept as source: they are in PostgreSQL.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datadistiller import errors
from datadistiller.indexing import Entry, questions

#: Of settings, mappings and documents: an index with another one is built anew.
FORMAT = 2
#: Neighbours of a vector in the graph, and candidates kept while building it.
GRAPH_NEIGHBOURS = 16
EF_BUILD = 100
#: Segments below this are merged like segments of this size: a search goes through the graph of each. Of 60,000 chunks
#: the usual 2 MB left 43 segments, and a question cost 26 ms of OpenSearch's CPU; 32 MB leaves 5, and it costs 11.
#: Building a chunk's part of the graph costs 1.8 instead of 1.7 ms (benchmarks/cluster_query.py).
FLOOR_SEGMENT = "32mb"
#: How long a removed chunk's version is remembered: a request that comes later than that was lost.
TOMBSTONES = "1h"


@dataclass(frozen=True, slots=True)
class Shape:
    """What an operator chooses of an index."""

    shards: int = 1
    replicas: int = 0


@dataclass(frozen=True, slots=True)
class Names:
    """The names of what belongs to one model."""

    alias: str

    @classmethod
    def of(cls, prefix: str, fingerprint: str) -> Names:
        """The names for a model."""
        return cls(f"{prefix}-{hashlib.sha256(fingerprint.encode()).hexdigest()[:12]}")

    def build(self) -> str:
        """A new name for an index."""
        return f"{self.alias}-{uuid.uuid4().hex[:12]}"

    @staticmethod
    def writer(index: str, epoch: int) -> str:
        """The alias that the leader of an epoch writes through."""
        return f"{index}-w{epoch}"

    @staticmethod
    def epoch(index: str, alias: str) -> int | None:
        """The epoch of a writer's alias; None if it is no such alias."""
        found = re.fullmatch(rf"{re.escape(index)}-w(\d+)", alias)
        return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Content:
    """What an index holds: vectors of a model, for the chunks of one database."""

    fingerprint: str
    dim: int
    owner: str = ""  # the database's id; who only searches need not know it

    @property
    def meta(self) -> dict[str, Any]:
        """What the mapping says about it."""
        return {"format": FORMAT, "model": self.fingerprint, "owner": self.owner}


def body(content: Content, shape: Shape, writer: str) -> dict[str, Any]:
    """The request that creates an index: nothing is refreshed before it is asked for."""
    analysis = {
        # Words as the local index has them: runs of letters and digits, lower case, no accents, English stems.
        "tokenizer": {"words": {"type": "pattern", "pattern": r"[^\p{IsAlphabetic}\p{N}]+"}},
        "filter": {
            "short": {"type": "length", "max": questions.MAX_WORD},
            "stems": {"type": "stemmer", "language": "porter2"},
            "once": {"type": "unique"},
        },
        "analyzer": {
            "text": _analyzer("short", "lowercase", "asciifolding", "stems"),
            "question": _analyzer("short", "lowercase", "asciifolding", "stems", "once"),
        },
    }
    index = {
        "knn": True,
        "number_of_shards": shape.shards,
        "number_of_replicas": shape.replicas,
        "refresh_interval": "-1",
        "gc_deletes": TOMBSTONES,
        # Segment replication would answer a write before the replicas show it.
        "replication": {"type": "DOCUMENT"},
        "merge.policy.floor_segment": FLOOR_SEGMENT,
        "analysis": analysis,
    }
    return {"settings": {"index": index}, "mappings": _mappings(content), "aliases": {writer: {}}}


def _analyzer(*filters: str) -> dict[str, Any]:
    return {"type": "custom", "tokenizer": "words", "filter": list(filters)}


def _mappings(content: Content) -> dict[str, Any]:
    method = {
        "name": "hnsw",
        "engine": "lucene",
        "space_type": "innerproduct",
        "parameters": {"m": GRAPH_NEIGHBOURS, "ef_construction": EF_BUILD},
    }
    return {
        "dynamic": "strict",
        "_meta": content.meta,
        "_source": {"excludes": ["text", "vector"]},
        "properties": {
            "chunk_no": {"type": "long"},
            "chunk_id": {"type": "keyword", "index": False},
            "job_no": {"type": "long"},
            "text": {"type": "text", "analyzer": "text", "search_analyzer": "question", "index_options": "freqs"},
            "vector": {"type": "knn_vector", "dimension": content.dim, "method": method},
        },
    }


def written(entry: Entry, dim: int) -> bytes:
    """A chunk as a document. Raises ``errors.BrokenInvariant`` if its vector is not one of this index."""
    if entry.vector.shape != (dim,) or not np.isfinite(entry.vector).all():
        raise errors.BrokenInvariant(f"The vector of chunk {entry.chunk_no} has not {dim} finite dimensions.")
    known = {
        "chunk_no": entry.chunk_no,
        "chunk_id": str(entry.chunk_id),
        "job_no": entry.job_no,
        "text": questions.spaced(f"{entry.context}\n{entry.text}"),
    }
    codes = np.ascontiguousarray(entry.vector, dtype=np.float16).view(np.uint16).tolist()
    vector = ",".join(map(_decimals().__getitem__, codes))
    return f'{json.dumps(known)[:-1]}, "vector": [{vector}]}}'.encode()


@functools.cache
def _decimals() -> list[str]:
    """Every number of 16 bits as the shortest decimal that is exactly it in 32 bits: ten times as fast as json."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    return [str(number) for number in every]


def cosines(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inner products that Lucene's scores stand for: it adds 1 to those above 0 and squeezes the others."""
    return np.where(scores >= 1, scores - 1, 1 - 1 / np.maximum(scores, 1e-9))
