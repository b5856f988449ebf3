"""manage.py as the harness's workers run it: knows the harness's providers, and may have a wrong clock."""

import os
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)  # not this folder


def shift_clock(seconds: float) -> None:
    """What a machine with a wrong clock would see: what this process asks for, and the times of files it touches."""
    from datetime import timedelta

    from django.utils import timezone

    right_time, right_now, right_utime = time.time, timezone.now, os.utime
    time.time = lambda: right_time() + seconds
    timezone.now = lambda: right_now() + timedelta(seconds=seconds)
    # Of os.utime, only the setting to "now" has to be shifted.
    os.utime = lambda path, times=None: right_utime(path, times or (time.time(), time.time()))


def register() -> None:
    import channels.providers
    from tests.faults import provider

    sys.modules["channels.providers.faults"] = provider
    channels.providers.REGISTRY |= {"faults_http": "faults.Http", "faults_http_once": "faults.HttpOnce"}


def hasten(seconds: float) -> None:
    import urllib3

    import channels.providers.http

    channels.providers.http.TIMEOUT = urllib3.Timeout(connect=5, read=seconds)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "commsportal.settings")
if os.environ.get("FAULTS_CLOCK"):
    shift_clock(float(os.environ["FAULTS_CLOCK"]))
if os.environ.get("FAULTS_TIMEOUT"):
    hasten(float(os.environ["FAULTS_TIMEOUT"]))
register()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
