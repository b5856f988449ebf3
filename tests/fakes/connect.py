"""What Amazon Connect Cases answers, in the shapes of the SDK's model."""

from typing import Any

DOMAIN: dict[str, Any] = {
    "domainId": "1f2e3d4c-5b6a-4789-8abc-0123456789ab",
    "domainArn": "arn:aws:cases:eu-south-1:123456789012:domain/1f2e3d4c-5b6a-4789-8abc-0123456789ab",
    "name": "support",
    "createdTime": 1764000000,
    "domainStatus": "Active",
}
