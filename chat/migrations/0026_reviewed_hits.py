"""What found a hit, what was done, and what staff think of it.

The defaults are the database's, so that processes of the previous release can store hits too.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0025_sensitive_patterns'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='hit',
            options={'permissions': [('view_hit_context', 'Can read the text around a hit')], 'verbose_name': 'hit', 'verbose_name_plural': 'hits'},
        ),
        migrations.AddField(
            model_name='hit',
            name='source',
            field=models.CharField(choices=[('word', 'word'), ('pattern', 'pattern'), ('service', 'moderation service')], db_default='word', default='word', max_length=10, verbose_name='found by'),
        ),
        migrations.AddField(
            model_name='hit',
            name='category',
            field=models.CharField(blank=True, db_default='', default='', max_length=50, verbose_name='category'),
        ),
        migrations.AddField(
            model_name='hit',
            name='action',
            field=models.CharField(blank=True, choices=[('block', 'block'), ('mask', 'mask'), ('replace', 'replace'), ('flag', 'flag')], db_default='', default='', max_length=10, verbose_name='action'),
        ),
        migrations.AddField(
            model_name='hit',
            name='excerpt',
            field=models.TextField(blank=True, db_default='', default='', verbose_name='excerpt'),
        ),
        migrations.AddField(
            model_name='hit',
            name='verdict',
            field=models.CharField(choices=[('open', 'open'), ('harmless', 'harmless'), ('confirmed', 'confirmed')], db_default='open', default='open', max_length=10, verbose_name='verdict'),
        ),
        migrations.AddField(
            model_name='hit',
            name='reviewed_by',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='reviewed by'),
        ),
        migrations.AddField(
            model_name='hit',
            name='reviewed_at',
            field=models.DateTimeField(null=True, verbose_name='reviewed'),
        ),
        migrations.AddIndex(
            model_name='hit',
            index=models.Index(condition=models.Q(('reviewed_by__isnull', False)), fields=['reviewed_by'], name='hits_by_reviewer'),
        ),
    ]
