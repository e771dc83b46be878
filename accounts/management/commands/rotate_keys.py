"""`manage.py rotate_keys`: encrypt all stored secrets with the first of KEY_ENCRYPTION_KEYS."""

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError

from providers.rotation import Rotation


class Command(BaseCommand):
    help = (
        "Encrypt all secrets in the database (vendor keys, proxy passwords, headers and queries of upstreams, second "
        "factors) with the first of KEY_ENCRYPTION_KEYS. Safe to repeat, and while the service runs, once every "
        "process has the new key."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: object, **options: object) -> None:
        rotation = Rotation()
        rotation.run()
        rotation.objects(Authenticator.objects.all(), "data")
        self.stdout.write(f"Encrypted again: {rotation.changed}; with the first key already: {rotation.unchanged}")
        if rotation.closed:
            raise CommandError(
                f"{len(rotation.closed)} secrets open with none of KEY_ENCRYPTION_KEYS and stay as they are: "
                f"{'; '.join(rotation.closed[:20])}. Add their key, or enter them again."
            )
