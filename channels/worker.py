"""The supervisor of the queue's processes: `manage.py worker`.

django-q2's cluster can hang without dying: a worker killed while it waits for work takes the queue's lock with it,
the others look alive and do nothing, and SIGTERM is ignored. So the cluster runs in a session of its own, is asked
again and again for a sign of life, and is killed as a group and started anew when it gives none. Nothing is lost by
that: batches and deliveries are the truth, and the sweeps find whatever is due.
"""

import ctypes
import gc
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connections
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.models import OrmQ
from django_q.tasks import async_task

from . import queue
from .models import Channel, Heartbeat

log = logging.getLogger(__name__)
PULSE = "PORTAL_WORKER_PULSE"  # environment: the file that the cluster touches at the start and end of each task
TICK_SECONDS = 0.25
START_SECONDS = 10  # what a start may take on a busy machine
LONGEST_PAUSE_SECONDS = 30
STEADY_SECONDS = 60  # a cluster that lived this long was well: the next restart is immediate again
PR_SET_PDEATHSIG = 1
NICE = 5  # a third of a web server's share where both want the processor; all of it where nobody else does


class Supervisor:
    """Keeps one cluster running until it is asked to stop."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._stop = threading.Event()
        self._sweeps = Sweeps() if queue.on_database() else BlindSweeps()
        self._cluster: subprocess.Popen[bytes] | None = None
        self._away: dict[str, float] = {}  # the database or the queue → since when it does not answer

    def request_stop(self, *_signal: Any) -> None:
        """Finish what is being sent, then stop. Safe to call from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Start the cluster and watch over it; returns when a requested stop is complete."""
        pauses = 0
        with tempfile.NamedTemporaryFile(prefix="commsportal-pulse-") as pulse:
            while not self._stop.is_set():
                started = time.monotonic()
                self._start(Path(pulse.name))
                reason = self._watch(Path(pulse.name))
                if reason is None:
                    break
                log.error("Restarting the queue: %s.", reason)
                self._kill()
                pauses = 0 if time.monotonic() - started > STEADY_SECONDS else pauses + 1
                self._stop.wait(min(LONGEST_PAUSE_SECONDS, 0.25 * 2**pauses) if pauses > 1 else 0)
            self._drain()

    def _start(self, pulse: Path) -> None:
        ready = time.time() + START_SECONDS
        os.utime(pulse, (ready, ready))  # until then its silence says nothing
        self._sweeps.forget()
        self._cluster = subprocess.Popen(
            self._command, env=os.environ | {PULSE: str(pulse)}, stdin=subprocess.DEVNULL, start_new_session=True
        )
        log.info("Queue started with %d workers (process %d).", settings.Q_CLUSTER["workers"], self._cluster.pid)

    def _watch(self, pulse: Path) -> str | None:
        """Why the cluster must be restarted, or None when we were asked to stop."""
        assert self._cluster
        while not self._stop.wait(TICK_SECONDS):
            code = self._cluster.poll()
            if code is not None:
                return f"its main process ended (exit code {code})"
            try:
                close_old_connections()
                if time.time() - pulse.stat().st_mtime > settings.WORKER_STALE_SECONDS and self._sweeps.overdue():
                    return f"work is waiting, but nothing was done for {settings.WORKER_STALE_SECONDS} seconds"
                self._sweeps.ask()
                self._all_is_back()
            except (DatabaseError, InterfaceError) as error:
                self._is_away("database", error)
                connections.close_all()
                os.utime(pulse)  # nobody can work now: that is no reason to kill the cluster
            except queue.Away as error:
                self._is_away("queue", error)
                os.utime(pulse)
        return None

    def _is_away(self, what: str, error: Exception) -> None:
        if what not in self._away:
            self._away[what] = time.monotonic()
            log.warning("The %s does not answer; trying again until it does: %s", what, str(error).strip())
        self._stop.wait(1)

    def _all_is_back(self) -> None:
        for what, since in self._away.items():
            log.info("The %s answers again after %.0f seconds.", what, time.monotonic() - since)
        self._away.clear()

    def _kill(self) -> None:
        """The whole group at once: what was in flight is settled when its lease has run out."""
        assert self._cluster
        with suppress(ProcessLookupError):
            os.killpg(self._cluster.pid, signal.SIGKILL)
        self._cluster.wait()

    def _drain(self) -> None:
        """SIGTERM to the main process alone: sent to the group it can hang the cluster."""
        if self._cluster is None:
            return
        if self._cluster.poll() is None:
            log.info("Stopping: finishing what is being sent (at most %d seconds).", settings.WORKER_STOP_SECONDS)
            self._cluster.send_signal(signal.SIGTERM)
            try:
                self._cluster.wait(settings.WORKER_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("The queue did not stop in time and is killed; what was in flight is settled later.")
        self._kill()
        log.info("Stopped.")


class _Broker(ORM):
    """The queue's own broker, which also remembers the row it wrote last."""

    row = 0

    def enqueue(self, task: str) -> int:
        self.row = super().enqueue(task)
        return self.row


class Sweeps:
    """Puts the tasks of settings.SWEEPS on the queue in turn, never a second one while the first is waiting."""

    def __init__(self) -> None:
        self._broker: _Broker | None = None
        self._asked: dict[str, tuple[int, float]] = {}  # task → its row on the queue, and when it was put there
        self._next = 0.0

    def forget(self) -> None:
        """A new cluster is starting: ask it at once, and take back what the old one has not done."""
        self._next = 0.0
        self._asked = {name: (row, float("-inf")) for name, (row, _at) in self._asked.items()}

    def ask(self) -> None:
        """Enqueue each sweep whose time has come."""
        now = time.monotonic()
        if now < self._next:
            return
        self._broker = self._broker or _Broker()
        rows = dict(OrmQ.objects.filter(pk__in=[row for row, _at in self._asked.values()]).values_list("pk", "lock"))
        for name in settings.SWEEPS:
            row, at = self._asked.get(name, (0, 0.0))
            if row in rows:
                # A taken row that is never done (its worker died) would come back only after Q_CLUSTER["retry"].
                still_waiting = rows[row] <= timezone.now()
                if at > float("-inf") and (still_waiting or now - at < settings.WORKER_STALE_SECONDS):
                    continue
                OrmQ.objects.filter(pk=row).delete()
            async_task(name, broker=self._broker)
            self._asked[name] = (self._broker.row, now)
        self._next = now + settings.SWEEP_SECONDS

    def overdue(self) -> bool:
        """Whether a sweep, or any other task, has been waiting for longer than is healthy."""
        limit = settings.WORKER_STALE_SECONDS
        oldest = timezone.now() - timedelta(seconds=limit)
        old = [row for row, at in self._asked.values() if time.monotonic() - at > limit]
        return OrmQ.objects.filter(pk__in=old).exists() or OrmQ.objects.filter(lock__lt=oldest).exists()


@dataclass
class _Asked:
    """One sweep on a queue that cannot be looked into. Times are time.monotonic()'s."""

    first: float  # when it was asked for, and not taken since
    last: float
    seen: "_Marks | None"  # at that time; None: when a cluster was started


_Marks = tuple[datetime | None, datetime | None]


class BlindSweeps:
    """The same on Redis and SQS, where a task cannot be found again: those who run a sweep leave marks."""

    def __init__(self) -> None:
        self._asked: dict[str, _Asked] = {}
        self._next = 0.0

    def forget(self) -> None:
        """A new cluster is starting: ask it at once for what the old one has taken along.

        What waits on the queue is there for the new one, so that clusters that hang one after the other add nothing.
        """
        self._next = 0.0
        now = time.monotonic()
        self._asked = {name: _Asked(now, now + START_SECONDS + 1, None) for name in self._asked}

    def ask(self) -> None:
        """Enqueue each sweep whose time has come. Raises queue.Away."""
        now = time.monotonic()
        if now < self._next:
            return
        waiting = queue.size()
        for name in settings.SWEEPS:
            one, marks = self._asked.get(name), _marks(name)
            if one:
                one.seen = one.seen or marks
                taken, done = marks[0] != one.seen[0], marks[1] != one.seen[1]
                # One that is neither taken nor waiting was lost. One that runs, or waits among others, has its time.
                if not done and (taken or waiting) and now - one.last < settings.WORKER_STALE_SECONDS:
                    continue
            first = one.first if one and marks == one.seen else now
            queue.put(name)
            self._asked[name] = _Asked(first, now, marks)
        self._next = now + settings.SWEEP_SECONDS

    def overdue(self) -> bool:
        """Whether nobody has taken a sweep for longer than is healthy since it was asked for."""
        limit = time.monotonic() - settings.WORKER_STALE_SECONDS
        old = [(name, one) for name, one in self._asked.items() if one.first < limit]
        return any(one.seen and _marks(name)[0] == one.seen[0] for name, one in old)


def _marks(name: str) -> _Marks:
    """When a sweep was last taken by a worker, and last done."""
    at = dict(Heartbeat.objects.filter(name__in=[f"{name} taken", f"{name} done"]).values_list("name", "at"))
    return at.get(f"{name} taken"), at.get(f"{name} done")


def _mark(what: str, task: dict[str, Any]) -> None:
    if task["func"] in settings.SWEEPS:
        with suppress(DatabaseError, InterfaceError):  # the sweep finds out for itself
            Heartbeat.objects.update_or_create(name=f"{task['func']} {what}", defaults={"at": timezone.now()})


def run_cluster() -> None:
    """The supervised side: django-q2's cluster, which touches the pulse file around every task."""
    from django_q.cluster import Cluster
    from django_q.signals import post_execute_in_worker, pre_execute

    pulse = os.environ[PULSE]
    for moment in (pre_execute, post_execute_in_worker):
        moment.connect(lambda **_kwargs: _touch(pulse), weak=False)
    if not queue.on_database():
        pre_execute.connect(lambda task, **_kwargs: _mark("taken", task), weak=False)
        post_execute_in_worker.connect(lambda task, **_kwargs: _mark("done", task), weak=False)
    if sys.platform == "linux":
        # A supervisor killed outright must not leave its cluster behind.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    stand_back()
    _load()
    Cluster().start()


def stand_back() -> None:
    """Let the web server go first: a reader waits for one page, and a million messages for their provider.

    Linux weighs whole sessions against each other and niceness only within one (sched(7), autogroup), so the session
    says it too.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    with suppress(OSError):  # no Linux, or another way of sharing: then a unit's CPUWeight says it
        Path("/proc/self/autogroup").write_text(str(NICE))


def _load() -> None:
    """What the workers would load at their first use of it, before they are forked.

    So the first message does not wait for an SDK, the workers share its memory, and the garbage collector, which looks
    at everything again and again, leaves alone what stays for good.
    """
    with suppress(DatabaseError, InterfaceError):  # away for the moment: then at first use
        for channel in Channel.objects.filter(enabled=True):
            with suppress(Exception):  # whatever is wrong with one is said where it is used
                channel.get_provider().load()
    connections.close_all()  # none is shared with a fork
    gc.collect()
    gc.freeze()


def _touch(pulse: str) -> None:
    with suppress(FileNotFoundError):  # the supervisor is gone; we follow soon
        os.utime(pulse)
