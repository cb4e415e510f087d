"""Every setting, once: name, default, unit, meaning. Read from DATADISTILLER_* variables or a TOML file.

The file is ``datadistiller.toml`` in the working directory, or what ``DATADISTILLER_CONFIG`` names.
Variables win over the file. ``DATADISTILLER_<NAME>_FILE`` names a file that holds the value: how orchestrators hand
over secrets. Marked once, here: a secret is a ``SecretStr``; what may hold one, such as a URL, has ``repr=False``.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from datadistiller import cores, errors


def _default_workers() -> int:
    return min(4, cores.allowed())


class Settings(BaseSettings):
    """The settings of one process. Each field's description is its documentation."""

    model_config = SettingsConfigDict(env_prefix="DATADISTILLER_", extra="forbid", frozen=True)

    data_dir: Path = Field(Path("./.data"), description="Folder of the embedded mode: database, objects, index, logs.")
    host: str = Field("127.0.0.1", description="Address the API listens on; beyond loopback it needs API keys.")
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on.")
    health_host: str = Field(
        "127.0.0.1", description="Address on which processes without the API answer /livez, /readyz, /metrics."
    )
    health_port: int = Field(
        0, ge=0, le=65535, description="Port of the same, for each process of a machine another; 0: none."
    )
    database_url: str = Field(
        "embedded:",
        repr=False,
        description="PostgreSQL: 'embedded:' or postgresql://user:password@host[,host2]/db; of several hosts the one that takes writes.",
    )
    objects_url: str = Field(
        "",
        repr=False,
        description="Object store: file:///folder, or s3://bucket/prefix ('s3:': the bucket datadistiller-docs); empty: DATA_DIR/objects.",
    )
    queue_url: str = Field(
        "postgresql:",
        repr=False,
        description="Queue: 'postgresql:' (rows are claimed in the database) or kafka://host:port[,host:port].",
    )
    index_url: str = Field(
        "local:",
        repr=False,
        description="Search index: 'local:' (FAISS and tantivy inside the API process) or opensearch[+https]://host:9200[,host2:9200][/prefix].",
    )
    require_key: Literal["auto", "always"] = Field(
        "auto", description="Whether requests need an API key: 'auto' (unless it listens on loopback) or 'always'."
    )
    bootstrap_key: SecretStr = Field(
        SecretStr(""), description="A key that is always good, for creating the first one; at least 32 characters."
    )
    metrics_public: bool = Field(
        False, description="Give GET /metrics without a key too: to a Prometheus on an inner network."
    )
    api_key: SecretStr = Field(SecretStr(""), description="The API key that the command line sends.")
    worker_id: str = Field(
        "", description="Name of this worker in logs, leases and metrics; empty: host and process id."
    )
    log_level: str = Field("info", description="debug, info, warning or error.")
    log_format: str = Field("json", description="json, or text for people.")

    s3_endpoint: str = Field(
        "", description="Address of the S3 server, https:// or http://; empty: AWS_ENDPOINT_URL, else AWS itself."
    )
    s3_public_endpoint: str = Field(
        "", description="The same as clients of presigned links reach it; empty: s3_endpoint."
    )
    s3_region: str = Field("", description="Region of the bucket; empty: AWS_REGION, else us-east-1.")
    s3_access_key: str = Field(
        "", description="Access key of the bucket; empty: AWS_ACCESS_KEY_ID, else what the machine's role gives."
    )
    s3_secret_key: SecretStr = Field(
        SecretStr(""), description="Secret of s3_access_key; empty: AWS_SECRET_ACCESS_KEY."
    )
    s3_timeout_seconds: float = Field(
        20, gt=0, description="Silence of the S3 server after which it counts as down, seconds."
    )
    presigned_seconds: int = Field(
        0,
        ge=0,
        le=604_800,
        description="How long a link to a file in S3 is good that GET .../content redirects to, seconds; 0: the API passes the bytes on itself.",
    )
    abandoned_upload_hours: float = Field(
        24, gt=0, description="Age above which the sweeper gives up unfinished uploads in S3, hours."
    )

    max_upload_bytes: int = Field(100_000_000, ge=1, description="Largest file accepted, bytes.")
    max_pending_jobs: int = Field(100_000, ge=1, description="Unfinished documents above which uploads get 429.")
    min_free_disk_bytes: int = Field(
        200_000_000, ge=0, description="Free disk below which uploads get 503, and files in documents wait, bytes."
    )
    max_question_chars: int = Field(8_000, ge=1, description="Longest question accepted, characters.")
    max_top_k: int = Field(100, ge=1, description="Largest top_k accepted.")
    idempotency_hours: float = Field(24, gt=0, description="How long an Idempotency-Key is remembered, hours.")

    ingest_workers: int = Field(1, ge=0, description="Ingestion worker processes of 'up'.")
    embed_workers: int = Field(
        default_factory=_default_workers, ge=0, description="Embedding worker processes of 'up'."
    )
    embedding_engine: Literal["auto", "native", "onnx"] = Field(
        "auto",
        description="What computes vectors: 'native' (compiled at installation), 'onnx' (ONNX Runtime), or 'auto': native where it can, else ONNX Runtime.",
    )
    embedding_model: str = Field(
        "",
        description="Folder of another embedding model, as 'datadistiller models convert' makes it; empty: the bundled one.",
    )
    embedding_threads: int = Field(
        0,
        ge=0,
        description="Computing threads of an embedding worker; 0: one, and under 'up' an equal share of the cores for each.",
    )
    reranking_model: str = Field(
        "",
        description="Folder of a model that scores passages anew, from 'datadistiller models convert'; empty: search alone ranks.",
    )
    reranking_passages: int = Field(
        20, ge=1, le=200, description="Passages that model reads for a question; never fewer than are asked for."
    )
    parse_seconds: float = Field(300, gt=0, description="Longest a parser may work on one document, seconds.")
    ocr_seconds: float = Field(
        1200,
        ge=0,
        description="Time beyond PARSE_SECONDS for pages read by OCR, of which each adds PAGE_SECONDS up to this, seconds.",
    )
    page_seconds: float = Field(60, gt=0, description="Longest a parser may be silent (one page), seconds.")
    parser_memory_mb: int = Field(
        1536,
        ge=128,
        description="Memory a parser process may reserve beyond what it starts with, MiB; OCR uses less than half.",
    )
    parser_documents: int = Field(100, ge=1, description="Documents after which a parser process is replaced.")
    max_pages: int = Field(10_000, ge=1, description="Most pages of one document.")
    max_text_chars: int = Field(50_000_000, ge=1, description="Most characters of text of one document.")
    max_attachments: int = Field(
        10_000, ge=0, description="Most files taken out of one upload (archives, mails), whatever lies in what."
    )
    max_attachment_bytes: int = Field(
        1_000_000_000, ge=0, description="Most bytes taken out of one upload, all files together."
    )
    max_nesting: int = Field(5, ge=0, description="How deep files may lie in each other to be taken out.")
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

    kafka_window: int = Field(
        32, ge=1, description="Batches of a stage (of 32 chunks, 1 document) published but not begun, at most."
    )
    kafka_replication: int = Field(
        0, ge=0, description="Copies of each topic the relay creates; 0: as the broker has it."
    )
    kafka_poll_seconds: float = Field(
        60, ge=1, description="Silence after which Kafka gives a worker's partitions to others, seconds."
    )
    kafka_security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="How to talk to Kafka: plaintext, ssl, sasl_plaintext or sasl_ssl."
    )
    kafka_sasl: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."
    )
    kafka_username: str = Field("", description="User for SASL.")
    kafka_password: SecretStr = Field(SecretStr(""), description="Password for SASL.")
    kafka_ca_file: str = Field(
        "", description="PEM file with the authorities that Kafka's certificate may come from; empty: the system's."
    )
    kafka_cert_file: str = Field("", description="PEM file with our certificate, if Kafka asks for one.")
    kafka_key_file: str = Field("", description="PEM file with our certificate's key.")

    index_commit_ms: int = Field(
        250, ge=10, description="Shortest time between two commits of the index, milliseconds."
    )
    hnsw_threshold: int = Field(
        50_000, ge=100, description="Vectors in the flat segment above which it is sealed as HNSW."
    )
    opensearch_user: str = Field("", description="User of OpenSearch; empty: none is needed.")
    opensearch_password: SecretStr = Field(SecretStr(""), description="Password of OpenSearch's user.")
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
        """Arguments, then variables, then files that variables name, then the TOML file."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        return init_settings, env_settings, FileVariables(settings_cls), toml

    @property
    def worker_name(self) -> str:
        """The worker's name: WORKER_ID as the contract has it, then the setting, then host and process id."""
        return os.environ.get("WORKER_ID") or self.worker_id or f"{socket.gethostname()}-{os.getpid()}"

    @property
    def embedding_share(self) -> int:
        """Computing threads of each embedding worker of ``up``."""
        return self.embedding_threads or max(1, round(cores.allowed() / max(1, self.embed_workers)))

    @property
    def key_required(self) -> bool:
        """Whether the API answers only requests with a key."""
        return self.require_key == "always" or not is_loopback(self.host)

    @property
    def index_inside(self) -> bool:
        """True if the API holds the search index in its own process."""
        return self.index_url == "local:"

    @property
    def objects(self) -> str:
        """The object store's URL."""
        return self.objects_url or (self.data_dir.resolve() / "objects").as_uri()


class FileVariables(PydanticBaseSettingsSource):
    """Reads the files that ``DATADISTILLER_<NAME>_FILE`` variables name. Raises SetupError for one it cannot use."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The content of the file, without white space around it; None if there is no such variable."""
        path = os.environ.get(file_variable(field_name))
        return (_content(field_name, Path(path)) if path else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All values that are in files."""
        fields = self.settings_cls.model_fields
        found = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def _content(name: str, path: Path) -> str:
    given = f"The file that {file_variable(name)} names"
    if variable(name) in os.environ:
        raise errors.SetupError(
            f"Both {variable(name)} and {file_variable(name)} are set.", hint="Unset one of them: which is meant?"
        )
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise errors.SetupError(
            f"{given}, {path}, cannot be read ({error.strerror}).", hint="Put the value there, and let it be read."
        ) from error
    except UnicodeDecodeError:
        raise errors.SetupError(f"{given}, {path}, is not text in UTF-8.", hint="Write the value as text.") from None


def variable(name: str) -> str:
    """The variable of a setting."""
    return f"DATADISTILLER_{name.upper()}"


def file_variable(name: str) -> str:
    """The variable that names a file with the value of a setting."""
    return f"{variable(name)}_FILE"


def is_loopback(host: str) -> bool:
    """True for localhost and the loopback addresses: only this machine can reach them."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def config_file() -> Path:
    """The TOML file that settings are read from, if it is there."""
    return Path(os.environ.get("DATADISTILLER_CONFIG") or "datadistiller.toml")


def source_of(name: str) -> str:
    """Where a setting's value comes from: a variable, a file that one names, the TOML file, or its default."""
    if variable(name) in os.environ:
        return variable(name)
    if os.environ.get(file_variable(name)):
        return file_variable(name)
    file = config_file()
    if file.is_file() and name in tomllib.loads(file.read_text(encoding="utf-8")):
        return str(file)
    return "default"


def for_children(settings: Settings) -> dict[str, str]:
    """The environment in which a child process finds these settings.

    Secrets stay where they are: no option of a command sets one, and a child reads them from the same place.
    """
    found = dict(os.environ)
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if value != "" and field.repr and not isinstance(value, SecretStr):
            found.pop(file_variable(name), None)
            found[variable(name)] = str(value)
    return found
