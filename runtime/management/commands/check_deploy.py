"""`manage.py check_deploy`: check a deployment before it starts."""

from django.core.management.base import BaseCommand

from runtime.deploy_checks import findings


class Command(BaseCommand):
    help = (
        "Check settings, database, migrations, Redis, VAR_DIR, the modes of secret files and proxies. It prints one "
        "line each and changes nothing; the exit code is 1 if one of them is wrong."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: object, **options: object) -> None:
        levels = set()
        for finding in findings():
            levels.add(finding.level)
            self.stdout.write(f"{finding.level:8}{finding.name}: {finding.text}")
        if "error" in levels:
            raise SystemExit(1)
