"""The addresses of accounts that are older than the table, linked logins included."""

from django.db import migrations

from accounts import addresses


def fill(apps, schema_editor):
    UsedAddress = apps.get_model('accounts', 'UsedAddress')
    mailboxes = (
        (addresses.email_digest(email), pk)
        for pk, email in apps.get_model('accounts', 'User').objects.exclude(email='').order_by('pk').values_list('pk', 'email').iterator()
    )
    logins = (
        (addresses.login_digest(provider, uid), pk)
        for pk, provider, uid in apps.get_model('socialaccount', 'SocialAccount').objects.order_by('pk').values_list('user_id', 'provider', 'uid').iterator()
    )
    for found in (mailboxes, logins):
        rows = [UsedAddress(digest=digest, user_id=pk) for digest, pk in found]
        UsedAddress.objects.bulk_create(rows, batch_size=1000, ignore_conflicts=True)


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_used_address'),
        ('socialaccount', '0001_initial'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
