import json
from typing import Any

from django.core.management.base import BaseCommand

from commsportal.api import api


class Command(BaseCommand):
    help = "Print the OpenAPI document of the REST API, as /api/v1/openapi.json has it."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(json.dumps(api.get_openapi_schema(), indent=2, ensure_ascii=False))
