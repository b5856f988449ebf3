"""Kinds of values that a request may give: nothing is guessed, and what is not known is refused."""

from datetime import date, datetime
from typing import Annotated, Any

from django.conf import settings
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, StrictBool, StringConstraints
from pydantic_core import PydanticCustomError, core_schema

from incidents.models import INCIDENT_STAGES, MAINTENANCE_STAGES, ComponentStatus, Role, Severity
from incidents.models.alert import STATES


class Given(BaseModel):
    """A part of a body. Not ninja's Schema, which reads attributes of whatever it is given."""

    model_config = ConfigDict(extra="forbid")


class OneOf:
    """One of these words."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.names)}

    def check(self, value: str) -> str:
        if value not in self.names:
            fix = f"Use one of: {', '.join(self.names)}."
            raise PydanticCustomError("one_of", "is not one of the known words", {"fix": fix})
        return value


class Written:
    """How a moment or a day is described in the document."""

    def __init__(self, form: str) -> None:
        self.form = form

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "string", "format": self.form}


def moment(value: Any) -> datetime:
    fix = "Write it as 2026-05-31T14:30:00Z or with another offset, between the years 2000 and 2100."
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise PydanticCustomError("moment", "is not a date and time", {"fix": fix}) from None
    if at.tzinfo is None or not 2000 < at.year < 2100:
        raise PydanticCustomError("moment", "has no offset from UTC, or a year that cannot be right", {"fix": fix})
    return at


def _day(value: Any) -> date:
    fix = "Write it as 2026-05-31."
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise PydanticCustomError("day", "is not a date", {"fix": fix}) from None


CLEAN = r"^[^\x00]*$"  # PostgreSQL keeps no NUL
BIG = 2**63 - 1
Moment = Annotated[datetime, BeforeValidator(moment), Written("date-time")]
Day = Annotated[date, BeforeValidator(_day), Written("date")]
Uid = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{1,16}$")]
Key = Annotated[int, Field(ge=1, le=BIG)]
StrictKey = Annotated[int, Field(ge=1, le=BIG, strict=True)]
Version = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]
Flag = StrictBool
Line = Annotated[str, StringConstraints(max_length=500, pattern=CLEAN)]
Text = Annotated[str, StringConstraints(max_length=10_000, pattern=CLEAN)]
Slug = Annotated[str, StringConstraints(max_length=50, pattern=r"^[-a-zA-Z0-9_]+$")]
Locale = Annotated[str, OneOf(*(code for code, _name in settings.LANGUAGES))]
SeverityWord = Annotated[str, OneOf(*Severity.values)]
StageWord = Annotated[str, OneOf(*INCIDENT_STAGES, *MAINTENANCE_STAGES)]
StateWord = Annotated[str, OneOf(*ComponentStatus.values)]
ImpactWord = Annotated[str, OneOf(*STATES)]
RoleWord = Annotated[str, OneOf(*Role.values)]
