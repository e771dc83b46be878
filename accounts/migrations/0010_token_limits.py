from django.db import migrations, models
import django.db.models.deletion


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0009_instructions'),
    ]

    operations = [
        migrations.AddField(
            model_name='apitoken',
            name='expires_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='expires'),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='allowed_models',
            field=models.JSONField(blank=True, null=True, verbose_name='models'),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='daily_limit',
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name='answers a day'),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='requests_per_minute',
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name='requests a minute'),
        ),
        migrations.AddField(
            model_name='ticket',
            name='token',
            field=models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.apitoken'),
        ),
        migrations.CreateModel(
            name='TokenUse',
            fields=[
                ('generation', models.CharField(max_length=32, primary_key=True, serialize=False)),
                ('day', models.DateField()),
                ('token', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='uses', to='accounts.apitoken')),
            ],
            options={
                'verbose_name': 'use of an API token',
                'verbose_name_plural': 'uses of API tokens',
                'indexes': [models.Index(fields=['token', 'day'], name='token_uses_of_day'), models.Index(fields=['day'], name='token_use_day')],
            },
        ),
    ]
