"""Entry points for the queue: ids in, nothing out. Running one twice is harmless."""

import logging
from functools import partial

from channels import delivery
from channels.models import Dispatch

from . import clock, confirming, planning, publishing, subscriber_import, subscribing, telling_staff
from .alerts import taking_in, telling
from .aws import automation, calling, coordinating, graphs, listening, measuring
from .chat import direct, requests, rooms
from .events import recording, sending
from .models import ApiAnswer
from .runbooks import running

FIRST_SECONDS = 1
log = logging.getLogger(__name__)


def expand(dispatch_id: int) -> None:
    """Find the people of a dispatch, and send to the first of them before anything else is done."""
    one = Dispatch.objects.select_related("channel").get(pk=dispatch_id)
    publishing.expand(one, first=partial(delivery.run_channel, one.via_id, FIRST_SECONDS))


def sweep() -> None:
    """Planned notices whose time has come, dispatches that no wake-up reached, and surveys that are due."""
    planning.publish_due()
    for one in publishing.waiting().select_related("channel"):
        try:
            publishing.expand(one)
        except Exception:  # its channel's provider is gone, say: the others must not wait for it
            log.exception("dispatch %s cannot be expanded", one.pk)


def confirm(request_id: int) -> None:
    """Ask whether an address wants what was asked for in its name."""
    confirming.send(request_id)


def sweep_requests() -> None:
    """Confirmations that no wake-up reached, and addresses that are needed no more."""
    confirming.send_waiting()
    subscribing.forget()
    subscriber_import.forget()
    ApiAnswer.forget()


def tell_staff(notice_id: int) -> None:
    """Tell one of the staff what was written down for them."""
    telling_staff.send(notice_id)


def sweep_clock() -> None:
    """Promises that are about to break or did, approvals that wait too long, and notices that no wake-up reached."""
    clock.tick()
    telling_staff.send_waiting()


def sweep_alerts() -> None:
    """Proposals that nobody was told of, and alerts that are long over and that no incident came of."""
    telling.tell()
    taking_in.forget()


def run_runbook(run_id: int) -> None:
    """Go on with a runbook, as far as it goes now."""
    running.advance(run_id)
    automation.wake(run_id)


def sweep_runbooks() -> None:
    """Runs that no wake-up reached, whose time has come, or whose worker died."""
    running.advance_due()


def send_events(subscription_id: int) -> None:
    """Tell another system what it has not been told yet."""
    sending.run(subscription_id)


def sweep_events() -> None:
    """Number what happened since, and tell those who want to know."""
    while recording.collect() >= recording.MOST:
        pass
    sending.send_due()
    sending.forget()


def tell_aws(call_id: int) -> None:
    """Make one call to AWS that was written down."""
    calling.send(call_id)


def sweep_aws() -> None:
    """What AWS is to be told of incidents and was not, and what became of them there."""
    coordinating.write_down()
    calling.send_waiting()
    listening.listen()


def sweep_cloudwatch() -> None:
    """Pictures of graphs that are due, and the portal's own measures."""
    graphs.refresh()
    measuring.send()


def register_automation(document_id: int) -> None:
    """Hand a runbook to AWS."""
    automation.hand_over(document_id)


def follow_automation(execution_id: int) -> None:
    """See how far an execution on AWS is, and signal what it waits for."""
    automation.follow(execution_id)


def sweep_automation() -> None:
    """Runbooks to be registered on AWS, and executions there that it is time to look at."""
    automation.hand_over_due()
    automation.follow_due()


def chat_request(request_id: int) -> None:
    """Do what somebody asked for in the chat, and answer."""
    requests.handle(request_id)


def close_chat(update_id: int) -> None:
    """Say in the chat who decided about an update."""
    direct.close_decided(update_id)


def tend_room(room_id: int) -> None:
    """Do what is missing in the channel of an incident."""
    rooms.tend(room_id)


def sweep_chat() -> None:
    """What was asked in the chat and no wake-up reached, buttons of what is decided, and the channels of incidents."""
    requests.handle_waiting()
    direct.close_decided()
    rooms.tend_all()
