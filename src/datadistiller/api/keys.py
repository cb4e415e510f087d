"""The keys of the API itself: /api/v2/keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from datadistiller import errors
from datadistiller.api import problems, schemas
from datadistiller.api.parts import Parts

KeyId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The number of the key.")]

#: Nothing that would disturb a terminal or a log.
KEY_NAME_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"

router = APIRouter(prefix="/api/v2/keys", tags=["keys"])


class NewKey(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=KEY_NAME_PATTERN,
        description="Who or what uses it: a person, a program.",
        examples=["laptop of Kim"],
    )


class Key(schemas.Body):
    """An API key, as it can be shown."""

    key_id: int
    name: str = Field(examples=["laptop of Kim"])
    prefix: str = Field(description="How the key begins.", examples=["dd_x7Kq2p"])
    created_at: datetime = Field(examples=[schemas.EXAMPLE_TIME])
    last_used_at: datetime | None = Field(
        description="To the minute or so; null if never.", examples=[schemas.EXAMPLE_TIME]
    )
    revoked_at: datetime | None = Field(description="Not good any more since then.")


class CreatedKey(Key):
    """A key that was just made."""

    key: str = Field(description="The key itself. It is shown this once and stored nowhere.")


class KeyList(schemas.Body):
    """All keys, newest first."""

    keys: list[Key]


@router.post("", operation_id="create_key", summary="Make an API key", status_code=201, responses=problems.documented())
async def create_key(body: NewKey, parts: Parts, response: Response) -> CreatedKey:
    """The answer holds the key; nobody can see it again. It is good for all calls, on every node, at once."""
    made, key = await parts.keys.create(body.name)
    response.headers["Cache-Control"] = "no-store"
    return CreatedKey(key=key, **Key.model_validate(made, from_attributes=True).model_dump())


@router.get("", operation_id="list_keys", summary="List API keys", responses=problems.documented())
async def list_keys(parts: Parts) -> KeyList:
    """Newest first, revoked ones too. How they begin, not what they are."""
    return KeyList(keys=[Key.model_validate(key, from_attributes=True) for key in await parts.keys.list()])


@router.delete(
    "/{key_id}",
    operation_id="revoke_key",
    summary="Revoke an API key",
    status_code=204,
    response_class=Response,
    responses=problems.documented(errors.KeyNotFound),
)
async def revoke_key(key_id: KeyId, parts: Parts) -> Response:
    """Every node refuses it within seconds. It stays in the list."""
    await parts.keys.revoke(key_id)
    return Response(status_code=204)
