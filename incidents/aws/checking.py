"""Ask AWS whether what is set up would work, without opening, changing or sending anything; and say it in words."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from incidents.models import AwsAccount

from .asking import AwsError, ask, note


@dataclass(frozen=True)
class Found:
    what: str
    ok: bool
    words: str


def check(account: AwsAccount) -> list[Found]:
    """Try each part that is on; what came of it is kept with the account."""
    found = [_one(account, _("Credentials"), _who)]
    if found[0].ok and account.opens_in == AwsAccount.Opens.INCIDENT_MANAGER:
        found.append(_one(account, _("Incident Manager"), _response_plan))
    if found[0].ok and account.opens_in == AwsAccount.Opens.OPS_CENTER:
        found.append(_one(account, _("OpsCenter"), _ops_center))
    rows = [asdict(one) for one in found]
    mine = AwsAccount.objects.filter(pk=account.pk)
    mine.update(report=rows, checked_at=timezone.now(), held_until=None)
    if all(one.ok for one in found):
        mine.update(trouble="", trouble_at=None)
    return found


def _one(account: AwsAccount, what: str, try_it: Callable[[AwsAccount], str]) -> Found:
    try:
        return Found(what, True, try_it(account))
    except AwsError as error:
        note(account, error)
        return Found(what, False, account.mask(error.words()))


def _who(account: AwsAccount) -> str:
    me = ask(account, "sts", "GetCallerIdentity")
    return _("AWS knows us as %(who)s.") % {"who": me.get("Arn", "?")}


def _response_plan(account: AwsAccount) -> str:
    found: dict[str, Any] = ask(account, "ssm-incidents", "GetResponsePlan", arn=account.response_plan_arn)
    name = found.get("displayName") or found.get("name", "?")
    return _("The response plan “%(name)s” is there. Whether it may be started shows with the first incident.") % {
        "name": name
    }


def _ops_center(account: AwsAccount) -> str:
    opened = {"Key": "Status", "Values": ["Open"], "Operator": "Equal"}
    ask(account, "ssm", "DescribeOpsItems", OpsItemFilters=[opened], MaxResults=1)
    return _("OpsItems can be listed. Whether one may be created shows with the first incident.")
