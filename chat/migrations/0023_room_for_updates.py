"""Leave room in the pages of generations, so that updates of running ones are heap-only on PostgreSQL."""

from django.db import migrations


def leave_room(apps, schema_editor):
    # It counts for new pages. Readers and writers do not wait for its lock.
    if schema_editor.connection.vendor == 'postgresql':
        schema_editor.execute('ALTER TABLE chat_generation SET (fillfactor = 70)')


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0022_draft_pieces'),
    ]

    operations = [migrations.RunPython(leave_room, migrations.RunPython.noop)]
