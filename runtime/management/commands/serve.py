from argparse import ArgumentParser

from django.core.management.base import BaseCommand

from runtime.serve import serve, work


class Command(BaseCommand):
    help = "Serve on HOST:PORT until SIGTERM or SIGINT, then drain."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--listener", type=int, help="for workers: the socket that was opened for them")

    def handle(self, *args: object, listener: int | None, **options: object) -> None:
        if listener is None:
            serve()
        else:
            work(listener)
