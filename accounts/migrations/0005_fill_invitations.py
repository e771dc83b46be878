"""Invitations that are older than their table: their inviters earn with the next charged answer."""

from django.db import migrations, models


def fill(apps, schema_editor):
    Invitation = apps.get_model('quotas', 'Invitation')
    invited = apps.get_model('accounts', 'User').objects.filter(invited_by__isnull=False).order_by('pk')
    rows = [
        Invitation(inviter_id=inviter, invited_id=pk)
        for pk, inviter in invited.values_list('pk', 'invited_by_id').iterator()
    ]
    Invitation.objects.bulk_create(rows, batch_size=1000, ignore_conflicts=True)
    # Saving wrote the present; the accounts know better.
    joined = invited.filter(pk=models.OuterRef('invited_id')).order_by().values('date_joined')
    Invitation.objects.update(joined_at=models.Subquery(joined))


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0004_fill_used_addresses'),
        ('quotas', '0003_invitations'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
