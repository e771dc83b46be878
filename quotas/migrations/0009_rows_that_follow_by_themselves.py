"""Let PostgreSQL delete the rows of new tables with the users and batches of codes that they belong to.

A process of the previous release deletes users and batches without knowing these tables. On SQLite no two releases run
at once.
"""

from django.db import migrations

TABLES = ("accounts_batchgroup", "mfa_authenticator", "usersessions_usersession")
# The keys to tables that the previous release knows, as PostgreSQL has named them.
KEYS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'f' AND conrelid::regclass::text = ANY(%s) AND confrelid::regclass::text IN ('accounts_user', 'quotas_redeembatch')
"""
ACTION, PLACE = " ON DELETE CASCADE", " DEFERRABLE"


def let_follow(apps, schema_editor):
    replace_keys(schema_editor, lambda key: key.replace(PLACE, ACTION + PLACE, 1))


def let_stay(apps, schema_editor):
    replace_keys(schema_editor, lambda key: key.replace(ACTION, "", 1))


def replace_keys(schema_editor, changed):
    connection = schema_editor.connection
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute(KEYS, [list(TABLES)])
        for table, name, key in cursor.fetchall():
            table, name = connection.ops.quote_name(table), connection.ops.quote_name(name)
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {changed(key)}")


class Migration(migrations.Migration):

    dependencies = [
        ("quotas", "0008_indexes_of_staff_lists"),
        ("accounts", "0025_guest_uses"),
        ("mfa", "0003_authenticator_type_uniq"),
        ("usersessions", "0001_initial"),
    ]

    operations = [migrations.RunPython(let_follow, let_stay)]
