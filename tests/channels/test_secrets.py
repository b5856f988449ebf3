"""Credentials at rest, and changing the key that encrypts them."""

from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection

from channels.models import Channel
from tests import make

pytestmark = pytest.mark.django_db


def stored() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets FROM channels_channel ORDER BY id LIMIT 1")
        return cursor.fetchone()[0]


def test_the_key_is_changed_and_the_old_one_can_go(settings):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_KEYS = [old]
    make.channel("smtp", secrets={"password": "canary"})
    make.channel()
    before = stored()
    settings.FIELD_KEYS = [new, old]
    out = StringIO()
    call_command("rotate_keys", stdout=out)
    assert out.getvalue() == "Encrypted anew: 1.\n"
    assert stored() != before
    settings.FIELD_KEYS = [new]
    assert Channel.objects.get(provider="smtp").secrets == {"password": "canary"}


def test_what_no_key_reads_is_named_and_left_as_it_is(settings):
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    make.channel("smtp", "Lost", secrets={"password": "canary"})
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    make.channel("smtp", "Kept", secrets={"password": "other"})
    before = stored()
    with pytest.raises(CommandError, match="Lost"):
        call_command("rotate_keys", stdout=StringIO())
    assert stored() == before
    assert Channel.objects.get(name="Kept").secrets == {"password": "other"}
