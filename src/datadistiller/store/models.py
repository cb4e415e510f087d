"""The one active embedding model: vectors of two models never mix."""

from __future__ import annotations

from datadistiller import errors
from datadistiller.store.database import Database
from datadistiller.store.statements import Statements


class Models:
    """Rows of ``models``."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("models")

    async def activate(self, fingerprint: str, dim: int) -> int:
        """The model's id; the first model of a database becomes the active one.

        Raises ``errors.SetupError`` if another model is active.
        """
        async with self._db.transaction() as conn:
            await conn.execute(self._sql["activate"], {"fingerprint": fingerprint, "dim": dim})
            row = await (await conn.execute(self._sql["active"])).fetchone()
        if row is None or row["fingerprint"] != fingerprint:
            known = row["fingerprint"] if row else "none"
            raise errors.SetupError(
                f"The database holds vectors of the embedding model {known}, but this process has {fingerprint}.",
                hint="Set DATADISTILLER_EMBEDDING_MODEL to the model that made them (empty: the bundled one); or, to "
                "embed with this one, start on a new data folder or database and ingest the documents again.",
            )
        return int(row["model_id"])
