"""Take the choices of a kind from the registry of adapters: from here on a new kind needs no migration."""

from django.db import migrations, models

import providers.registry


class Migration(migrations.Migration):
    dependencies = [("providers", "0004_groups_sign_host_raw_key")]

    operations = [
        migrations.AlterField(
            model_name="upstream",
            name="kind",
            field=models.CharField(
                choices=providers.registry.choices, default="openai", max_length=20, verbose_name="kind"
            ),
        ),
    ]
