"""JSON of quotas, charges and the ledger, as views and events return it."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from quotas.models import Source
from web.schemas import Count, Time


class Quota(TypedDict):
    slug: str
    title: str
    models: list[str]
    daily_limit: Count | None
    used_today: Count
    credits: Count
    remaining: Count | None
    resets_at: Time


class Charge(TypedDict):
    amount: Count
    source: Literal["daily", "credit", "none"]
    reason: str


class LedgerRow(TypedDict):
    id: int
    quota: str
    amount: int
    source: Annotated[str, Field(json_schema_extra={"enum": Source.values})]
    reason: str
    generation: str | None
    created_at: Time


class LedgerPage(TypedDict):
    results: list[LedgerRow]
    next: str | None


class CodeBatch(TypedDict):
    codes: list[str]
