"""Triggers that keep the audit as it was written, and a group whose members may read it.

A row may be deleted when it is older than 30 days, the shortest AUDIT_RETENTION_DAYS. It may be changed in one way: what
it says about a user's data is erased with the account.
"""

from django.db import migrations

DAYS = 30
KEPT = ("id", "at", "actor_id", "actor_name", "via", "address", "action", "object_type", "request_id")
ERASED = "NEW.user_id IS NULL AND NEW.object_id = '' AND NEW.changed_fields = '' AND NEW.reason = ''"
REFUSAL = "entries of the audit cannot be changed, and not be deleted before their time"

POSTGRESQL = f"""
CREATE FUNCTION accounts_auditentry_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.at < now() - interval '{DAYS} days' THEN RETURN OLD; END IF;
    ELSIF {ERASED} AND ({", ".join(f"NEW.{name}" for name in KEPT)})
            IS NOT DISTINCT FROM ({", ".join(f"OLD.{name}" for name in KEPT)}) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '{REFUSAL}';
END $$;
CREATE TRIGGER accounts_auditentry_keep BEFORE UPDATE OR DELETE ON accounts_auditentry
    FOR EACH ROW EXECUTE FUNCTION accounts_auditentry_keep();
"""
POSTGRESQL_BACK = """
DROP TRIGGER accounts_auditentry_keep ON accounts_auditentry;
DROP FUNCTION accounts_auditentry_keep();
"""
SQLITE = (
    f"""CREATE TRIGGER accounts_auditentry_keep_changed BEFORE UPDATE ON accounts_auditentry
    WHEN NOT ({ERASED} AND {" AND ".join(f"NEW.{name} IS OLD.{name}" for name in KEPT)})
    BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END""",
    f"""CREATE TRIGGER accounts_auditentry_keep_deleted BEFORE DELETE ON accounts_auditentry
    WHEN OLD.at >= datetime('now', '-{DAYS} days')
    BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END""",
)
SQLITE_BACK = ("DROP TRIGGER accounts_auditentry_keep_changed", "DROP TRIGGER accounts_auditentry_keep_deleted")


def protect(apps, schema_editor):
    statements = SQLITE if schema_editor.connection.vendor == "sqlite" else (POSTGRESQL,)
    for statement in statements:
        schema_editor.execute(statement, None)


def unprotect(apps, schema_editor):
    statements = SQLITE_BACK if schema_editor.connection.vendor == "sqlite" else (POSTGRESQL_BACK,)
    for statement in statements:
        schema_editor.execute(statement, None)


class Migration(migrations.Migration):

    dependencies = [("accounts", "0015_audit")]

    operations = [migrations.RunPython(protect, unprotect)]
