"""An account whose services are fakes on the loopback. Nothing here was ever tried on AWS."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from incidents.models import AwsAccount
from tests.fakes import aws as fake_aws

REGION = "eu-south-1"
PLAN = "arn:aws:ssm-incidents::123456789012:response-plan/customers-notice"
RECORD = "arn:aws:ssm-incidents::123456789012:incident-record/customers-notice/8cbe1e4a-0000-4000-8000-2f1f3d5a7b01"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], fake_aws.FakeAws]]:
    """Starts the fake of a service, to which every client of it goes."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with ExitStack() as stack:

        def start(name: str) -> fake_aws.FakeAws:
            fake = stack.enter_context(fake_aws.fake_aws(name))
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name.upper().replace('-', '_')}", fake.url)
            return fake

        yield start


@pytest.fixture
def make_account(db: None) -> Callable[..., AwsAccount]:
    def make(**changes: Any) -> AwsAccount:
        values = {
            "name": "Production",
            "region": REGION,
            "access_key_id": fake_aws.ACCESS_KEY,
            "secrets": {"secret_access_key": fake_aws.SECRET_KEY},
        }
        return AwsAccount.objects.create(**values | changes)

    return make
