"""The cluster with the real model: its pace beside the bare model, and uploads while its workers are saturated."""

from __future__ import annotations

from benchmarks import ingest, upload
from benchmarks.cluster import running
from benchmarks.harness import large_texts, small_documents
from benchmarks.rows import Row

VOLUMES = 20
UPLOADS = 60


def paced(volumes: int) -> list[Row]:
    """Texts of 100 kB, beside the bare model on the same texts and cores; the bare model has the machine for itself."""
    with running() as cluster:
        cluster.wait(cluster.upload_all(small_documents(50, 1999)))
        spent, chunks, wall, texts = ingest.take_in(cluster, large_texts(volumes))
    bare_cpu, bare_wall = ingest.bare_model(texts)
    _, costs = ingest.around(spent, bare_cpu, chunks)
    share = bare_wall / wall
    rates = f"{chunks / wall:.1f} / {chunks / bare_wall:.1f} = {share:.1%}"
    return [
        Row("100 kB texts: chunks a second, system / bare model", ">= 90 %", rates, share >= 0.9),
        Row("the same: CPU around the model, per chunk, services included", "", costs),
    ]


def measure(volumes: int = VOLUMES, uploads: int = UPLOADS) -> list[Row]:
    """Two embedding workers, everything on this machine."""
    rows = paced(volumes)
    with running() as cluster:
        return rows + upload.rows(cluster, uploads)
