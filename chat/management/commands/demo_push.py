"""`manage.py demo_push <username> <key>`: play the payment example from another process."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.channels import payment_demo
from web.refusals import Refusal


class Command(BaseCommand):
    help = "Push the payment example to a user's channel, as another program would: created, paying, paid, complete."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("key")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            for event_id in payment_demo.play(options["username"], options["key"]):
                self.stdout.write(event_id)
                self.stdout.flush()
        except Refusal as refusal:
            details = "; ".join(
                f"{name}: {', '.join(map(str, texts))}" for name, texts in (refusal.details or {}).items()
            )
            raise CommandError(details or str(refusal.message)) from refusal
