"""The one background process of the portal."""

import signal
import sys
from argparse import SUPPRESS
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from channels.worker import Supervisor, run_cluster


class Command(BaseCommand):
    help = "Delivers messages and does whatever else is due, until it is stopped. Restarts itself when it gets stuck."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--cluster", action="store_true", help=SUPPRESS)  # the side that is supervised

    def handle(self, *args: Any, **options: Any) -> None:
        if options["cluster"]:
            run_cluster()
            return
        supervisor = Supervisor([sys.executable, sys.argv[0], "worker", "--cluster"])
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, supervisor.request_stop)
        supervisor.run()
