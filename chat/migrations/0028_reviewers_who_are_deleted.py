"""Let PostgreSQL forget the reviewer of a hit when the user is deleted.

A process of the previous release deletes users without knowing this column. On SQLite no two releases run at once.
"""

from django.db import migrations

# The key, as PostgreSQL has named it.
KEY = """
SELECT conname, pg_get_constraintdef(pg_constraint.oid) FROM pg_constraint
JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY(conkey)
WHERE contype = 'f' AND conrelid = 'chat_hit'::regclass AND attname = 'reviewed_by_id'
"""
ACTION, PLACE = " ON DELETE SET NULL", " DEFERRABLE"


def forget(apps, schema_editor):
    replace_key(schema_editor, lambda key: key.replace(PLACE, ACTION + PLACE, 1))


def keep(apps, schema_editor):
    replace_key(schema_editor, lambda key: key.replace(ACTION, "", 1))


def replace_key(schema_editor, changed):
    connection = schema_editor.connection
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute(KEY)
        for name, key in cursor.fetchall():
            name = connection.ops.quote_name(name)
            cursor.execute(f"ALTER TABLE chat_hit DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {changed(key)}")


class Migration(migrations.Migration):

    dependencies = [("chat", "0027_refusal_texts_of_completions")]

    operations = [migrations.RunPython(forget, keep)]
