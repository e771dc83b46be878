from argparse import ArgumentParser

from django.core.management.base import BaseCommand

from runtime.serve import serve, work


class Command(BaseCommand):
    help = "Serve on HOST:PORT until SIGTERM or SIGINT, then drain. SIGHUP loads the code again without a pause."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--worker-at", type=int, metavar="PORT", help="internal: serve as a worker at this shared port"
        )

        parser.add_argument("--listener", type=int, metavar="FD", help="internal: the worker's listening socket")

    def handle(self, *args: object, worker_at: int | None, listener: int | None, **options: object) -> None:
        if worker_at is None:
            serve()
        else:
            work(worker_at, listener)
