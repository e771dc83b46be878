from django.core.management.base import BaseCommand

from runtime.serve import serve


class Command(BaseCommand):
    help = "Serve on HOST:PORT until SIGTERM or SIGINT, then drain."
    requires_system_checks: list[str] = []

    def handle(self, *args: object, **options: object) -> None:
        serve()
