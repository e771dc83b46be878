"""The columns of troubles, which keys and upstreams have in common."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Trouble(models.Model):
    """The evidence against a key or an upstream, and the verdict about it.

    Without `cooldown_until` it is only a suspicion. With it the part is left out until then; afterwards a limit
    (`rate`) has ended, and anything else is half-open until a neutral probe succeeds. All processes share these rows.
    """

    class Blame(models.TextChoices):
        KEY = "key", _("declared by the vendor")
        RATE = "rate", _("limited by the vendor")
        UPSTREAM = "upstream", _("the upstream fails")

    model = models.CharField(_("model"), max_length=200, blank=True)
    # Empty in rows that the previous release stored; they count like `key`.
    blame = models.CharField(_("class"), max_length=10, choices=Blame.choices, blank=True, db_default="")
    cooldown_until = models.DateTimeField(_("cooling until"), null=True)
    # Whether the vendor named the end of the cooldown, so that no probe is of use before it.
    hinted = models.BooleanField(default=False, db_default=False)
    status_reason = models.CharField(_("reason"), max_length=200, blank=True)
    # The requests that failed, of how many users, since when.
    requests = models.PositiveIntegerField(default=0, db_default=0)
    users = models.PositiveIntegerField(default=0, db_default=0)
    since = models.DateTimeField(null=True)
    probe_until = models.DateTimeField(_("being probed until"), null=True)
    last_probe_at = models.DateTimeField(null=True)
    next_probe_at = models.DateTimeField(null=True)
    # How many times in a row it was left out, or a suspicion stayed undecided: pauses double with it.
    times = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        abstract = True

    @property
    def is_cooling(self) -> bool:
        return self.cooldown_until is not None and self.cooldown_until > timezone.now()
