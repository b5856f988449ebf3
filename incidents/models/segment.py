from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Func, Q
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

MOST_CONDITIONS, MOST_VALUES, NAME, VALUE = 8, 50, 80, 200


class Is(models.TextChoices):
    ONE_OF = "one_of", _("is one of")
    NONE_OF = "none_of", _("is none of")
    SET = "set", _("is known")
    NOT_SET = "not_set", _("is not known")


class Attribute(Func):
    """Whether an attribute of a recipient has one of some values, whatever their case; without values: any.

    Of a list one element is enough. The name is a parameter, and never a part of the query.
    """

    output_field = models.BooleanField()

    def __init__(self, column: str, name: str, values: tuple[str, ...] = ()) -> None:
        super().__init__(F(column))
        self.name, self.values = name, values

    def _column(self, compiler: Any) -> str:
        sql, params = compiler.compile(self.source_expressions[0])
        assert not params
        return sql

    def _ways(self) -> list[str]:
        """SQLite lowers ASCII alone, and so does a PostgreSQL of the locale C: the usual ways of writing each value."""
        return sorted({way for one in self.values for way in (one, one.lower(), one.upper(), one.title())})

    def as_sqlite(self, compiler: Any, connection: Any, **_context: Any) -> tuple[str, list[Any]]:
        each = f"json_each({self._column(compiler)}) AS a"
        if not self.values:
            known = "a.type <> 'null' AND a.value NOT IN ('', '[]', '{}')"
            return f"EXISTS (SELECT 1 FROM {each} WHERE a.key = %s AND {known})", [self.name]
        wanted = self._ways()
        marks = ", ".join(["%s"] * len(wanted))
        value = "CASE v.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE CAST(v.value AS text) END"
        words = "CASE a.type WHEN 'array' THEN a.value ELSE json_array(CASE a.type WHEN 'true' THEN 'true' "
        words += "WHEN 'false' THEN 'false' ELSE a.value END) END"
        return (
            f"EXISTS (SELECT 1 FROM {each}, json_each({words}) AS v WHERE a.key = %s AND a.type <> 'object' "
            f"AND ({value} IN ({marks}) OR lower({value}) IN ({marks})))"
        ), [self.name, *wanted, *wanted]

    def as_postgresql(self, compiler: Any, connection: Any, **_context: Any) -> tuple[str, list[Any]]:
        column = self._column(compiler)
        if not self.values:
            return f"COALESCE({column} ->> %s, '') NOT IN ('', '[]', '{{}}')", [self.name]
        found = f"{column} -> %s"
        each = f"CASE jsonb_typeof({found}) WHEN 'array' THEN {found} ELSE jsonb_build_array({found}) END"
        found = "v.value = ANY(%s) OR lower(v.value) = ANY(%s)"
        sql = f"EXISTS (SELECT 1 FROM jsonb_array_elements_text({each}) AS v(value) WHERE {found})"
        return sql, [self.name] * 3 + [self._ways()] * 2


class AudienceSegment(models.Model):
    """Recipients who have something in common: all conditions hold, each for one of its values at least.

    `conditions`: [{"attribute": "plan", "is": "one_of", "values": ["Enterprise", "Business"]}].
    """

    name = models.CharField(_("name"), max_length=80, unique=True)
    description = models.CharField(_("description"), max_length=200, blank=True)
    conditions = models.JSONField(_("conditions"), default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    history = HistoricalRecords()

    class Meta:
        verbose_name = _("audience segment")
        verbose_name_plural = _("audience segments")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.conditions = checked(self.conditions)

    @property
    def rule(self) -> dict[str, Any]:
        """What is approved and frozen with an update."""
        return {"name": self.name, "conditions": self.conditions}


def checked(conditions: Any) -> list[dict[str, Any]]:
    """Conditions in their one form. Raises ValidationError that names the condition, the value and the fix."""
    if not isinstance(conditions, list) or not conditions:
        raise ValidationError(_t("Give at least one condition: without one a segment would be everybody."))
    if len(conditions) > MOST_CONDITIONS:
        raise ValidationError(_t("A segment has at most %d conditions.") % MOST_CONDITIONS)
    return [_checked(number, one) for number, one in enumerate(conditions, 1)]


def _checked(number: int, one: Any) -> dict[str, Any]:
    one = one if isinstance(one, dict) else {}
    name, how = str(one.get("attribute") or "").strip(), one.get("is")
    values = [text for value in one.get("values") or () if (text := str(value).strip())]
    wrong = ""
    if not name:
        wrong = _t("name an attribute, for example plan.")
    elif len(name) > NAME or "\0" in name:
        wrong = _t("“%(name)s” is no name of an attribute: it has at most %(most)d characters.")
        wrong %= {"name": name.replace("\0", "")[:40], "most": NAME}
    elif how not in Is.values:
        wrong = _t("choose how %s is compared.") % name
    elif how in (Is.ONE_OF, Is.NONE_OF) and not values:
        wrong = _t("write with which values %s is compared, one on each line.") % name
    elif len(values) > MOST_VALUES:
        wrong = _t("%(n)d values are too many; the most are %(most)d.") % {"n": len(values), "most": MOST_VALUES}
    elif bad := next((text for text in values if len(text) > VALUE or "\0" in text), ""):
        wrong = _t("“%(value)s…” is too long; a value has at most %(most)d characters.")
        wrong %= {"value": bad.replace("\0", "")[:40], "most": VALUE}
    if wrong:
        raise ValidationError(_t("Condition %(number)d: %(wrong)s") % {"number": number, "wrong": wrong})
    if how not in (Is.ONE_OF, Is.NONE_OF):
        values = []
    return {"attribute": name, "is": how, "values": list(dict.fromkeys(values))}


def matching(conditions: Iterable[Mapping[str, Any]]) -> Q:
    """For a query of recipients: those for whom all of these hold. No query of its own."""
    found = Q()
    for one in conditions:
        known = Attribute("attributes", one["attribute"], tuple(one["values"]))
        found &= Q(known) if one["is"] in (Is.ONE_OF, Is.SET) else ~Q(known)
    return found


def in_words(conditions: Iterable[Mapping[str, Any]]) -> str:
    """“plan is one of Enterprise, Business; region is known”."""
    return "; ".join(
        " ".join(filter(None, (one["attribute"], str(Is(one["is"]).label), ", ".join(one["values"]))))
        for one in conditions
    )
