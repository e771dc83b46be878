"""Drop indexes that no query needs, because each completion writes them.

Others begin with the same user, and quotas are hardly ever deleted.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class DropIndexWhileInUse(migrations.AlterField):
    """Drops the index of a foreign key, on PostgreSQL while other processes write.

    Django itself would copy the whole table on SQLite.
    """

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        model = to_state.apps.get_model(app_label, self.model_name)
        column = model._meta.get_field(self.name).column
        name = schema_editor.quote_name(schema_editor._create_index_name(model._meta.db_table, [column]))
        how = 'CONCURRENTLY' if schema_editor.connection.vendor == 'postgresql' else ''
        schema_editor.execute(f'DROP INDEX {how} IF EXISTS {name}')

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        model = to_state.apps.get_model(app_label, self.model_name)
        schema_editor.execute(schema_editor._create_index_sql(model, fields=[model._meta.get_field(self.name)]))


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('chat', '0028_reviewers_who_are_deleted'),
        ('quotas', '0009_rows_that_follow_by_themselves'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        DropIndexWhileInUse(
            model_name='conversation',
            name='user',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='conversations', to=settings.AUTH_USER_MODEL, verbose_name='user'),
        ),
        DropIndexWhileInUse(
            model_name='generation',
            name='user',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='generations', to=settings.AUTH_USER_MODEL, verbose_name='user'),
        ),
        DropIndexWhileInUse(
            model_name='generation',
            name='quota',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='quotas.quota', verbose_name='quota'),
        ),
    ]
