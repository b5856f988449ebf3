"""The anchor: boto3 as it comes, SendBulkEmail with 50 entries that were built before the clock starts."""

import json
import sys
import time
from typing import Any

import boto3

from benchmarks import world
from benchmarks.answering import answer_lines

BULK = 50


def send(first: int, count: int) -> dict[str, float]:
    client = boto3.client(
        "sesv2",
        region_name="eu-south-1",
        endpoint_url=f"http://127.0.0.1:{sys.argv[1]}",
        aws_access_key_id="AKIABENCHMARK0000000",
        aws_secret_access_key="none",
    )
    content = {
        name: text.replace("[[", "{{").replace("]]", "}}")
        for name, text in (("Subject", world.SUBJECT), ("Text", world.TEXT), ("Html", world.HTML))
    }
    numbers = range(first, first + count)
    calls = [[_entry(n) for n in numbers[at : at + BULK]] for at in range(0, count, BULK)]
    started = time.monotonic()
    for entries in calls:
        client.send_bulk_email(
            FromEmailAddress=world.SENDER,
            DefaultContent={"Template": {"TemplateContent": content, "TemplateData": "{}"}},
            BulkEmailEntries=entries,
        )
    seconds = time.monotonic() - started
    client.close()
    return {"seconds": seconds}


def _entry(n: int) -> dict[str, Any]:
    url = world.unsubscribe_url(n)
    values = json.dumps({"name": world.name(n), "unsubscribe_url": url})
    return {
        "Destination": {"ToAddresses": [f"{world.name(n)} <{world.address(n)}>"]},
        "ReplacementEmailContent": {"ReplacementTemplate": {"ReplacementTemplateData": values}},
        "ReplacementTags": [{"Name": "delivery", "Value": str(n)}],
        "ReplacementHeaders": [
            {"Name": "List-Unsubscribe", "Value": f"<{url}>"},
            {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
        ],
    }


if __name__ == "__main__":
    answer_lines({"send": send})
