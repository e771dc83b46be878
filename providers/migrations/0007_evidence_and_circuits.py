"""Add classes, evidence and probes to the troubles of keys, and circuits of upstreams; the previous release still runs."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('providers', '0006_upstream_proxy_ciphertext'),
    ]

    operations = [
        migrations.AddField(
            model_name='keytrouble',
            name='blame',
            field=models.CharField(blank=True, choices=[('key', 'declared by the vendor'), ('rate', 'limited by the vendor'), ('upstream', 'the upstream fails')], db_default='', max_length=10, verbose_name='class'),
        ),
        migrations.AddField(
            model_name='keytrouble',
            name='hinted',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name='keytrouble',
            name='last_probe_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='keytrouble',
            name='next_probe_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='keytrouble',
            name='requests',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='keytrouble',
            name='since',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='keytrouble',
            name='times',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='keytrouble',
            name='users',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.CreateModel(
            name='UpstreamTrouble',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('model', models.CharField(blank=True, max_length=200, verbose_name='model')),
                ('blame', models.CharField(blank=True, choices=[('key', 'declared by the vendor'), ('rate', 'limited by the vendor'), ('upstream', 'the upstream fails')], db_default='', max_length=10, verbose_name='class')),
                ('cooldown_until', models.DateTimeField(null=True, verbose_name='cooling until')),
                ('hinted', models.BooleanField(db_default=False, default=False)),
                ('status_reason', models.CharField(blank=True, max_length=200, verbose_name='reason')),
                ('requests', models.PositiveIntegerField(db_default=0, default=0)),
                ('users', models.PositiveIntegerField(db_default=0, default=0)),
                ('since', models.DateTimeField(null=True)),
                ('probe_until', models.DateTimeField(null=True, verbose_name='being probed until')),
                ('last_probe_at', models.DateTimeField(null=True)),
                ('next_probe_at', models.DateTimeField(null=True)),
                ('times', models.PositiveIntegerField(db_default=0, default=0)),
                ('upstream', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name='troubles', to='providers.upstream', verbose_name='upstream')),
            ],
            options={
                'verbose_name': 'upstream trouble',
                'verbose_name_plural': 'upstream troubles',
                'constraints': [models.UniqueConstraint(fields=('upstream', 'model'), name='trouble_once_per_upstream_and_model')],
            },
        ),
    ]
