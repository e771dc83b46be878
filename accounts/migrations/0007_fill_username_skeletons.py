"""The skeletons of existing names. Of accounts with names that look alike, the oldest has the skeleton.

Each batch has its own transaction. One of all users would lock their rows to its end, and their prompts would wait.
"""

from django.db import migrations

from accounts import usernames


def fill(apps, schema_editor):
    usernames.fill_skeletons(apps.get_model('accounts', 'User').objects.all())


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('accounts', '0006_username_skeleton'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
