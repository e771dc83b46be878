"""The group `auditors`, whose members may read the audit and nothing else.

A group of that name that is there already stays as it is.
"""

from django.db import migrations


def make_group(apps, schema_editor):
    def rows(app, model):
        return apps.get_model(app, model).objects.using(schema_editor.connection.alias)

    kind, _created = rows("contenttypes", "ContentType").get_or_create(app_label="accounts", model="auditentry")
    # Django makes permissions after all migrations only, and finds this one then.
    permission, _created = rows("auth", "Permission").get_or_create(
        content_type=kind, codename="view_auditentry", defaults={"name": "Can view audit entry"}
    )
    group, created = rows("auth", "Group").get_or_create(name="auditors")
    if created:
        group.permissions.add(permission)


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0016_audit_is_append_only"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(make_group, migrations.RunPython.noop)]
