"""Add the indexes of the lists of grants and of codes, without making writers wait."""

from django.db import migrations, models


class AddIndexWhileInUse(migrations.AddIndex):
    """Adds an index, on PostgreSQL while other processes write.

    What an interrupted start left of it is dropped first.
    """

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != 'postgresql':
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        name = schema_editor.quote_name(self.index.name)
        schema_editor.execute(f'DROP INDEX CONCURRENTLY IF EXISTS {name}')
        schema_editor.add_index(model, self.index, concurrently=True)


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('quotas', '0007_ledger_outlives_users'),
    ]

    operations = [
        AddIndexWhileInUse(
            model_name='ledgerentry',
            index=models.Index(condition=models.Q(('reference', '')), fields=['-id'], name='ledger_grants'),
        ),
        AddIndexWhileInUse(
            model_name='redeemcode',
            index=models.Index(fields=['batch', 'id'], name='codes_of_batch'),
        ),
    ]
