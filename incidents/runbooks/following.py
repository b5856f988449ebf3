"""The step of a run that AWS does: the portal waits for it there, and does nothing itself."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from incidents.models import AutomationExecution, RunbookRun, RunbookStepRun
from incidents.models.automation import BAD, GOOD, in_words

from .kinds import Config, Kind
from .outcome import Outcome, done, failed, left_out, waits


class Following(Kind):
    """Nobody adds it to a runbook: it stands in the portal's half of an execution (automation_document.portal_half)."""

    label = gettext_lazy("Wait for what AWS does")
    offered = False

    def do(self, run: RunbookRun, log: RunbookStepRun, config: Config) -> Outcome:
        if not config["step"]:
            return left_out(_("It decides nothing."))
        execution = AutomationExecution.objects.filter(run=run).first()
        if execution is None:
            return failed(_("No execution on AWS goes with this run."))
        there = execution.step(config["step"])
        status = there["status"] if there else "Pending"
        if there and status in GOOD:
            return _after(execution, log, there["action"] == "aws:branch")
        if there and status in BAD:
            text = _("AWS: %(state)s. %(why)s")
            return failed(text % {"state": in_words(status), "why": there["message"] or execution.failure})
        if execution.status in GOOD:
            return left_out(_("AWS left it out."))
        if execution.is_over:
            why = execution.failure or execution.trouble
            text = _("AWS ended before this step: %(state)s. %(why)s")
            return failed(text % {"state": execution.status_in_words, "why": why})
        return waits(_("AWS: %(state)s.") % {"state": in_words(status)})

    def in_words(self, config: Config) -> str:
        return str(config.get("does", ""))


def _after(execution: AutomationExecution, log: RunbookStepRun, branch: bool) -> Outcome:
    """Done; after a branch on to the step that AWS took, so that both halves go the same way."""
    if not branch:
        return done(_("AWS has done it."))
    from incidents.aws.automation_document import index_of

    begun = [index_of(one["name"]) for one in execution.steps if one["status"] != "Pending"]
    later = [index for index in begun if index is not None and index > log.index]
    if later:
        return done(_("AWS went on with step %(n)d.") % {"n": min(later) + 1}, jump=min(later))
    if execution.is_over:
        return done(_("AWS ended there."), jump=len(log.run.steps))
    return waits(_("AWS decides where to go on."))
