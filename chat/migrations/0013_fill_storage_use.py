"""Count the texts that users have stored before the table was there."""

from django.db import migrations

FILL = """
INSERT INTO chat_storageuse (user_id, conversations, unkept)
SELECT user_id, SUM(conversations), SUM(unkept) FROM (
    SELECT user_id, SUM({title} + {system_prompt} + 200) AS conversations, 0 AS unkept
    FROM chat_conversation GROUP BY user_id
    UNION ALL
    SELECT owner.user_id, SUM({content} + {reasoning} + 200), 0
    FROM chat_message JOIN chat_conversation owner ON owner.id = conversation_id GROUP BY owner.user_id
    UNION ALL
    SELECT user_id, 0, SUM({content} + {reasoning}) FROM chat_generation
    WHERE finished_at IS NOT NULL AND (content <> '' OR reasoning <> '') GROUP BY user_id
) texts GROUP BY user_id
ON CONFLICT (user_id) DO NOTHING
"""


def fill(apps, schema_editor):
    octets = 'LENGTH(CAST({} AS BLOB))' if schema_editor.connection.vendor == 'sqlite' else 'OCTET_LENGTH({})'
    columns = ('title', 'system_prompt', 'content', 'reasoning')
    schema_editor.execute(FILL.format(**{name: octets.format(name) for name in columns}))


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0012_storage_use'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
