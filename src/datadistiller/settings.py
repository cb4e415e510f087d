"""Every setting, once: name, default, unit, meaning. Read from DATADISTILLER_* variables or a TOML file.

The file is ``datadistiller.toml`` in the working directory, or what ``DATADISTILLER_CONFIG`` names.
Variables win over the file.
"""

from __future__ import annotations

import os
import socket
import tomllib
from pathlib import Path

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


def _default_workers() -> int:
    return max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


class Settings(BaseSettings):
    """The settings of one process. Each field's description is its documentation."""

    model_config = SettingsConfigDict(env_prefix="DATADISTILLER_", extra="forbid", frozen=True)

    data_dir: Path = Field(Path("./.data"), description="Folder of the embedded mode: database, objects, index, logs.")
    host: str = Field(
        "127.0.0.1", description="Address the API listens on; only loopback until there is authentication."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on.")
    database_url: str = Field("embedded:", description="PostgreSQL: 'embedded:' or postgresql://user:password@host/db.")
    objects_url: str = Field("", description="Object store: file:///folder or s3://bucket; empty: DATA_DIR/objects.")
    queue_url: str = Field("postgresql:", description="Queue: 'postgresql:' (rows are claimed in the database).")
    index_url: str = Field(
        "local:",
        description="Search index: 'local:' (FAISS and tantivy inside the API process) or opensearch[+https]://host:9200[,host2:9200][/prefix].",
    )
    worker_id: str = Field(
        "", description="Name of this worker in logs, leases and metrics; empty: host and process id."
    )
    log_level: str = Field("info", description="debug, info, warning or error.")
    log_format: str = Field("json", description="json, or text for people.")

    max_upload_bytes: int = Field(100_000_000, ge=1, description="Largest file accepted, bytes.")
    max_pending_jobs: int = Field(100_000, ge=1, description="Unfinished documents above which uploads get 429.")
    min_free_disk_bytes: int = Field(200_000_000, ge=0, description="Free disk below which uploads get 503, bytes.")
    max_question_chars: int = Field(8_000, ge=1, description="Longest question accepted, characters.")
    max_top_k: int = Field(100, ge=1, description="Largest top_k accepted.")
    idempotency_hours: float = Field(24, gt=0, description="How long an Idempotency-Key is remembered, hours.")

    ingest_workers: int = Field(1, ge=0, description="Ingestion worker processes of 'up'.")
    embed_workers: int = Field(
        default_factory=_default_workers, ge=0, description="Embedding worker processes of 'up'."
    )
    parse_seconds: float = Field(300, gt=0, description="Longest a parser may work on one document, seconds.")
    page_seconds: float = Field(30, gt=0, description="Longest a parser may be silent (one page), seconds.")
    parser_memory_mb: int = Field(1024, ge=128, description="Memory a parser process may use, MiB.")
    parser_documents: int = Field(100, ge=1, description="Documents after which a parser process is replaced.")
    max_pages: int = Field(10_000, ge=1, description="Most pages of one document.")
    max_text_chars: int = Field(50_000_000, ge=1, description="Most characters of text of one document.")
    chunk_tokens: int = Field(200, ge=16, description="Tokens a chunk aims at; never more than the model's window.")

    heartbeat_seconds: float = Field(2, gt=0, description="How often a worker says it is alive, seconds.")
    worker_timeout_seconds: float = Field(8, gt=0, description="Silence after which a worker counts as dead, seconds.")
    park_hours: float = Field(
        24, gt=0, description="Longest a message waits for capacity before it is a dead letter, hours."
    )
    sweep_grace_seconds: float = Field(
        900, gt=0, description="Age below which the sweeper leaves unknown objects alone, seconds."
    )
    drain_seconds: float = Field(
        20, gt=0, description="Time a worker gets to finish what it holds when told to stop, seconds."
    )

    index_commit_ms: int = Field(
        250, ge=10, description="Shortest time between two commits of the index, milliseconds."
    )
    hnsw_threshold: int = Field(
        50_000, ge=100, description="Vectors in the flat segment above which it is sealed as HNSW."
    )
    opensearch_user: str = Field("", description="User of OpenSearch; empty: none is needed.")
    opensearch_password: str = Field("", description="Password of OpenSearch's user.")
    opensearch_ca_file: str = Field(
        "", description="Certificates (PEM) that OpenSearch's is signed with; empty: those of the system."
    )
    opensearch_shards: int = Field(1, ge=1, description="Shards of an index made on OpenSearch; a rebuild applies it.")
    opensearch_replicas: int = Field(
        1, ge=0, description="Replicas of an index made on OpenSearch; a rebuild applies it."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then variables, then the TOML file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=config_file())

    @property
    def worker_name(self) -> str:
        """The worker's name: WORKER_ID as the contract has it, then the setting, then host and process id."""
        return os.environ.get("WORKER_ID") or self.worker_id or f"{socket.gethostname()}-{os.getpid()}"

    @property
    def index_inside(self) -> bool:
        """True if the API holds the search index in its own process."""
        return self.index_url == "local:"

    @property
    def objects(self) -> str:
        """The object store's URL."""
        return self.objects_url or (self.data_dir.resolve() / "objects").as_uri()


def config_file() -> Path:
    """The TOML file that settings are read from, if it is there."""
    return Path(os.environ.get("DATADISTILLER_CONFIG", "datadistiller.toml"))


def source_of(name: str) -> str:
    """Where a setting's value comes from: a variable, the file, or its default."""
    variable = f"DATADISTILLER_{name.upper()}"
    if variable in os.environ:
        return variable
    file = config_file()
    if file.exists() and name in tomllib.loads(file.read_text(encoding="utf-8")):
        return str(file)
    return "default"
