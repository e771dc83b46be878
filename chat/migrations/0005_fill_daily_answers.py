"""Count the answers that are older than the table."""

from collections import Counter

from django.db import migrations
from django.utils import timezone


def fill(apps, schema_editor):
    zone = timezone.get_default_timezone()
    sums = {}
    ended = apps.get_model('chat', 'Generation').objects.exclude(status='running')
    fields = ('user_id', 'created_at', 'model', 'upstream', 'status', 'charge', 'input_tokens', 'output_tokens')
    for user, created, model, upstream, status, charge, read, written in ended.values_list(*fields).iterator():
        completed = status == 'completed'
        source = (charge or {}).get('source')
        sums.setdefault((user, created.astimezone(zone).date(), model, upstream), Counter()).update(
            answers=int(completed),
            daily_charges=int(source == 'daily'),
            credit_charges=int(source == 'credit'),
            failures=int(not completed),
            input_tokens=(read or 0) if completed else 0,
            output_tokens=(written or 0) if completed else 0,
        )
    DailyAnswers = apps.get_model('chat', 'DailyAnswers')
    rows = [
        DailyAnswers(user_id=user, day=day, model=model, upstream=upstream, **counters)
        for (user, day, model, upstream), counters in sums.items()
    ]
    DailyAnswers.objects.bulk_create(rows, batch_size=500)


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0004_daily_answers'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
