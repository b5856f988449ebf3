"""The public status page as objects in a bucket of Amazon S3, with CloudFront before it if there is one.

The bucket is served without the portal. What is there is compared with what should be, object by object, so that doing
it again after a crash mends whatever was left half-way.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import md5
from typing import Any

from botocore.exceptions import ClientError
from django import forms
from django.conf import settings
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy

from channels.errors import Transient

from . import aws
from .base import Addressee, Capabilities, Message, Outcome

MARK = ".published"  # an object that every publication ends with: who finds it changed meanwhile begins anew
TRIES = 5
TYPES = {
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "atom": "application/atom+xml; charset=utf-8",
    "rss": "application/rss+xml; charset=utf-8",
    "ics": "text/calendar; charset=utf-8",
    "svg": "image/svg+xml",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "png": "image/png",
    "jpg": "image/jpeg",
}
# What comes and goes: incidents, older pages of the archive, badges, pictures by content. Nothing else is removed.
_GOES = re.compile(
    r"([a-z]{2}(-[a-z]+)?/)?((incidents/[^/]+|history/\d+)/(index\.html)?|badge/[^/]+\.svg)"
    r"|pictures/[0-9a-f]{64}\.\w+"
)


class S3Form(aws.AwsForm):
    bucket = forms.RegexField(
        r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        label=gettext_lazy("Bucket"),
        error_messages={"invalid": gettext_lazy("A bucket's name has 3 to 63 lower-case letters, digits, - and dots.")},
    )
    folder = forms.RegexField(
        r"^([A-Za-z0-9_-][A-Za-z0-9._-]*/)+$",
        label=gettext_lazy("Folder"),
        required=False,
        max_length=200,
        error_messages={
            "invalid": gettext_lazy("Write the folder as status/ or pages/status/, with a slash at its end.")
        },
        help_text=gettext_lazy("Optional, as status/. Let nothing else write there."),
    )
    distribution_id = forms.RegexField(
        r"^[A-Z0-9]{8,32}$",
        label=gettext_lazy("CloudFront distribution"),
        required=False,
        error_messages={"invalid": gettext_lazy("The ID of a distribution looks like E1A2B3C4D5E6F7.")},
        help_text=gettext_lazy("Optional: its ID. Readers then see a new page within seconds, whatever it had cached."),
    )
    field_order = ["bucket", "folder", "distribution_id", "region"]


class S3(aws.AwsProvider):
    """Which files there are is asked of settings.STATUS_PAGE_FILES: () -> [(name, bytes)], in the order to write them.

    It is the page as it stands now, not the message, so that doing it twice changes nothing.
    """

    label = gettext_lazy("Page: Amazon S3 and CloudFront")
    capabilities = Capabilities(form="page", medium="broadcast", broadcast=True, idempotent=True)
    config_form = S3Form
    service = "s3"

    @property
    def prefix(self) -> str:
        return self.config.get("folder", "")

    @cached_property
    def distribution(self) -> Any:
        return aws.connect("cloudfront", self.config, self.region())

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        try:
            reference = self._publish()
            if self.config.get("distribution_id"):
                self._invalidate(reference)
        except aws.SDK_ERRORS as error:
            raise aws.failure(error) from error
        return [Outcome(ref=reference)] * len(recipients)

    def _publish(self) -> str:
        """Bring the bucket up to date; the ETag of the mark. Raises Transient where others are always faster.

        Two at a time must not leave the older page: each reads the facts after the mark, and whoever finds that another
        one finished since reads everything again.
        """
        written: set[str] = set()
        for _try in range(TRIES):
            mark, there = self._mark(), self._there()
            wanted = _objects(import_string(settings.STATUS_PAGE_FILES)())
            for name, content in wanted.items():
                if name in written or there.get(name) != md5(content, usedforsecurity=False).hexdigest():
                    self._put(name, content)
                    written.add(name)
            reference = self._conclude(mark)
            if reference:
                for name in there:
                    if name not in wanted and _GOES.fullmatch(name):
                        self.client.delete_object(Bucket=self.config["bucket"], Key=self.prefix + name)
                return reference
        raise Transient("busy", "Others publish to this bucket at the same time, again and again.")

    def _there(self) -> dict[str, str]:
        """Name → ETag of what is in the bucket: of an object written at once, the MD5 of its content."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.config["bucket"], Prefix=self.prefix)
        return {
            one["Key"].removeprefix(self.prefix): one["ETag"].strip('"')
            for page in pages
            for one in page.get("Contents", [])
        }

    def _put(self, name: str, content: bytes) -> None:
        suffix = "html" if name.endswith("/") else name.rpartition(".")[2]
        age = "31536000, immutable" if name.startswith("pictures/") else "10"
        self.client.put_object(
            Bucket=self.config["bucket"],
            Key=self.prefix + name,
            Body=content,
            ContentType=TYPES.get(suffix, "application/octet-stream"),
            CacheControl=f"public, max-age={age}",
        )

    def _mark(self) -> str:
        """The mark's ETag; empty if nothing was published yet."""
        try:
            return self.client.head_object(Bucket=self.config["bucket"], Key=self.prefix + MARK)["ETag"]
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return ""
            raise

    def _conclude(self, mark: str) -> str:
        """Replace the mark; its new ETag, or "" if it is not the one that was seen any more."""
        only = {"IfMatch": mark} if mark else {"IfNoneMatch": "*"}
        key = self.prefix + MARK
        try:
            reply = self.client.put_object(Bucket=self.config["bucket"], Key=key, Body=secrets.token_bytes(16), **only)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 409, 412):
                return ""
            raise
        return reply["ETag"].strip('"')

    def _invalidate(self, reference: str) -> None:
        paths = [f"/{self.prefix}*"]
        self.distribution.create_invalidation(
            DistributionId=self.config["distribution_id"],
            InvalidationBatch={"Paths": {"Quantity": len(paths), "Items": paths}, "CallerReference": reference},
        )

    def probe(self) -> str:
        """Writes and removes an object, as publishing does; asks whether the distribution is there."""
        place = {"Bucket": self.config["bucket"], "Key": f"{self.prefix}.probe-{secrets.token_hex(4)}"}
        try:
            self.client.list_objects_v2(Bucket=self.config["bucket"], Prefix=self.prefix, MaxKeys=1)
            self.client.put_object(**place, Body=b"probe")
            self.client.delete_object(**place)
            if self.config.get("distribution_id"):
                self.distribution.list_invalidations(DistributionId=self.config["distribution_id"], MaxItems="1")
        except aws.SDK_ERRORS as error:
            raise aws.failure(error) from error
        return ""

    def close(self) -> None:
        super().close()
        if "distribution" in self.__dict__:
            self.distribution.close()
            del self.distribution


def _objects(files: Sequence[tuple[str, bytes]]) -> Mapping[str, bytes]:
    """Name → content. A page stands under its address too: S3 and CloudFront know no index.html below the root."""
    found: dict[str, bytes] = {}
    for name, content in files:
        found[name] = content
        folder = name.removesuffix("index.html")
        if folder and folder != name:
            found[folder] = content
    return found
