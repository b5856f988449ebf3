"""On moto's servers of S3 and CloudFront, over HTTP."""

from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest

from channels.errors import Permanent, Transient
from channels.providers import get, s3
from channels.providers.s3 import S3Form
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY

from .conftest import addressees, make_message

KEYS = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "region": "eu-south-1"}
PICTURE = f"pictures/{'a' * 64}.png"


class Facts:
    """Stands for the app that knows the page. `then` is done once, after the facts were read."""

    files: list[tuple[str, bytes]] = []
    then: Any = None

    @classmethod
    def read(cls) -> list[tuple[str, bytes]]:
        found = list(cls.files)
        if cls.then:
            then, cls.then = cls.then, None
            then()
        return found


def read_facts() -> list[tuple[str, bytes]]:
    return Facts.read()


@pytest.fixture
def bucket(moto: str, settings) -> Iterator[Any]:
    """A client of the bucket's server; the page has three files."""
    settings.STATUS_PAGE_FILES = f"{__name__}.read_facts"
    Facts.files, Facts.then = [(PICTURE, b"png"), ("index.html", b"<h1>1</h1>"), ("incidents/a/index.html", b"a")], None
    client = botocore.session.Session().create_client(
        "s3", region_name="eu-south-1", aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY
    )
    client.create_bucket(Bucket="status", CreateBucketConfiguration={"LocationConstraint": "eu-south-1"})
    yield client
    client.close()


@pytest.fixture
def page(bucket, make_provider):
    return make_provider("s3", bucket="status", folder="pages/", **KEYS)


def send(page) -> str:
    [outcome] = page.send(make_message(), addressees(1))
    assert outcome.error is None
    return outcome.ref


def content(bucket, name: str) -> bytes:
    return bucket.get_object(Bucket="status", Key=f"pages/{name}")["Body"].read()


def names(bucket) -> set[str]:
    found = bucket.list_objects_v2(Bucket="status").get("Contents", [])
    return {one["Key"].removeprefix("pages/") for one in found} - {s3.MARK}


def test_every_page_stands_under_its_address_too_with_what_a_browser_needs_to_know(page, bucket):
    assert send(page)
    assert names(bucket) == {PICTURE, "index.html", "incidents/a/", "incidents/a/index.html"}
    assert content(bucket, "incidents/a/") == b"a"
    kinds = {name: bucket.head_object(Bucket="status", Key=f"pages/{name}") for name in names(bucket)}
    assert kinds["incidents/a/"]["ContentType"] == "text/html; charset=utf-8"
    assert kinds["index.html"]["CacheControl"] == "public, max-age=10"
    assert (kinds[PICTURE]["ContentType"], "immutable" in kinds[PICTURE]["CacheControl"]) == ("image/png", True)


def test_doing_it_again_writes_only_what_is_not_as_it_should_be(page, bucket):
    send(page)
    before = {n: bucket.head_object(Bucket="status", Key=f"pages/{n}")["LastModified"] for n in names(bucket)}
    bucket.put_object(Bucket="status", Key="pages/incidents/a/", Body=b"half of a")  # what a crash left
    written = []
    put = page._put
    page._put = lambda name, content: (written.append(name), put(name, content))
    send(page)
    assert written == ["incidents/a/"]
    assert content(bucket, "incidents/a/") == b"a"
    assert bucket.head_object(Bucket="status", Key=f"pages/{PICTURE}")["LastModified"] == before[PICTURE]


def test_pages_that_are_gone_go_and_what_is_not_ours_stays(page, bucket):
    Facts.files = [*Facts.files, ("history/12/index.html", b"old"), ("it/history/12/index.html", b"old")]
    send(page)
    bucket.put_object(Bucket="status", Key="pages/robots.txt", Body=b"theirs")
    Facts.files = [("index.html", b"<h1>2</h1>")]
    send(page)
    assert names(bucket) == {"index.html", "robots.txt"}


def test_of_two_that_publish_at_once_the_newer_facts_stay(page, bucket, make_provider):
    other = make_provider("s3", bucket="status", folder="pages/", **KEYS)

    def overtake() -> None:
        Facts.files = [("index.html", b"<h1>newer</h1>")]
        send(other)

    Facts.then = overtake  # after the first has read the old facts, and before it writes
    send(page)
    assert content(bucket, "index.html") == b"<h1>newer</h1>"
    assert "incidents/a/" not in names(bucket)


def test_who_is_always_overtaken_tries_again_later(page, bucket, monkeypatch):
    monkeypatch.setattr(page, "_conclude", lambda _mark: "")
    with pytest.raises(Transient):
        page.send(make_message(), addressees(1))


def test_the_distribution_forgets_what_it_had(bucket, make_provider):
    cdn = botocore.session.Session().create_client(
        "cloudfront", region_name="us-east-1", aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY
    )
    origin = {"Id": "o", "DomainName": "status.s3.amazonaws.com", "S3OriginConfig": {"OriginAccessIdentity": ""}}
    behaviour = {"TargetOriginId": "o", "ViewerProtocolPolicy": "allow-all", "MinTTL": 0}
    behaviour["ForwardedValues"] = {"QueryString": False, "Cookies": {"Forward": "none"}}
    made = cdn.create_distribution(
        DistributionConfig={
            "CallerReference": "1",
            "Comment": "",
            "Enabled": True,
            "Origins": {"Quantity": 1, "Items": [origin]},
            "DefaultCacheBehavior": behaviour,
        }
    )["Distribution"]["Id"]
    page = make_provider("s3", bucket="status", folder="pages/", distribution_id=made, **KEYS)
    assert page.probe() == ""
    send(page)
    [one] = cdn.list_invalidations(DistributionId=made)["InvalidationList"]["Items"]
    found = cdn.get_invalidation(DistributionId=made, Id=one["Id"])["Invalidation"]["InvalidationBatch"]
    assert found["Paths"]["Items"] == ["/pages/*"]
    cdn.close()


def test_the_probe_leaves_nothing_behind_and_knows_a_bucket_that_is_not_there(page, bucket, make_provider):
    assert page.probe() == ""
    assert names(bucket) == set()
    with pytest.raises(Permanent) as caught:
        make_provider("s3", bucket="elsewhere", **KEYS).probe()
    assert caught.value.code == "NoSuchBucket"


@pytest.mark.parametrize(
    ("field", "value"),
    [("bucket", "Status Page"), ("bucket", "a"), ("folder", "/status"), ("folder", "../"), ("distribution_id", "e1")],
)
def test_the_form_names_what_cannot_be(field, value):
    form = S3Form({"bucket": "status", "region": "eu-south-1", field: value})
    assert field in form.errors
    assert get("s3").config_form is S3Form
