"""The cluster with the real model: its pace beside the bare model, and uploads while its workers are saturated."""

from __future__ import annotations

from benchmarks import ingest, upload
from benchmarks.cluster import running
from benchmarks.rows import Row

VOLUMES = 20
UPLOADS = 60


def measure(volumes: int = VOLUMES, uploads: int = UPLOADS) -> list[Row]:
    """Two embedding workers; everything on this machine. The uploads come last but one: the bare model stops it all."""
    with running() as cluster:
        rows = upload.rows(cluster, uploads)
    with running() as cluster:
        return ingest.beside_the_bare_model(cluster, volumes) + rows
