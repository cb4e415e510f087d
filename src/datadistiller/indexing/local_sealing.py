"""When parts are sealed or merged, and how: into one HNSW segment, by a thread that gives way to everything else."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections import defaultdict
from pathlib import Path
from uuid import uuid4

import numpy as np

from datadistiller.indexing import local_files as files
from datadistiller.indexing import local_vectors as vectors

#: A flat part of the threshold divided by this is sealed when nothing else is going on.
IDLE_SEALING = 5
#: A sealed segment that has lost this share of its rows is written again.
WORN_SHARE = 0.3
#: So many sealed segments of one size class are merged; a class is four times the one below it.
MERGE_COUNT = 4
#: Segments of this many times the threshold are merged no more: building a graph takes 0.1 ms a row.
MERGE_LIMIT = 16
#: Rows put into a graph between two looks at whether to stop.
SLICE = 512


def plan(parts: vectors.Parts, threshold: int, *, idle: bool) -> vectors.Parts:
    """The parts that should become one sealed segment, none if all is well.

    Sealing comes first; in an idle moment a part of the threshold is enough. Mending and merging wait for such a
    moment until they are twice as due.
    """
    blocks = [part for part in parts if not part.sealed][:-1]  # the last one still grows
    if vectors.entries(tuple(blocks)) >= threshold / (IDLE_SEALING if idle else 1):
        return tuple(blocks)
    patience = 1 if idle else 2
    sealed = [part for part in parts if part.sealed]
    for part in sealed:
        if part.entries <= len(part.segment) * (1 - WORN_SHARE) ** patience:
            return (part,)
    classes = defaultdict(list)
    for part in sealed:
        classes[max(-1, math.floor(math.log(part.entries / threshold, 4)))].append(part)
    for size in sorted(classes):
        if len(classes[size]) >= MERGE_COUNT * patience and 4**size < MERGE_LIMIT:
            return tuple(classes[size])
    return ()


def build(parts: vectors.Parts, folder: Path, stop: threading.Event) -> Sealed | None:
    """One sealed segment of the live rows of all parts, its files written; None if told to stop or if there is none.

    Takes about 0.1 ms a row, so it runs in a thread of its own at the lowest priority. Raises OSError.
    """
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
    vectors.single_thread()
    rows = vectors.Batch.join([part.rows() for part in parts])
    if not len(rows):
        return None
    rows = rows.take(np.argsort(rows.columns.numbers))
    graph = vectors.faiss.IndexHNSWSQ(
        rows.codes.shape[1],
        vectors.faiss.ScalarQuantizer.QT_fp16,
        vectors.GRAPH_NEIGHBOURS,
        vectors.faiss.METRIC_INNER_PRODUCT,
    )
    graph.hnsw.efConstruction = vectors.EF_BUILD
    for at in range(0, len(rows), SLICE):
        if stop.is_set():
            return None
        graph.add(rows.codes[at : at + SLICE].astype(np.float32))
    sealed = files.write_segment(folder, f"segment-{uuid4().hex}", rows.columns, graph)
    del graph  # the file, mapped, takes its place
    return sealed, files.read_segment(folder, sealed)


Sealed = tuple[files.SealedFile, vectors.Segment]
