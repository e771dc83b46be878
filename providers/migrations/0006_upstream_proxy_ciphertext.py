from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('providers', '0005_kind_choices'),
    ]

    operations = [
        migrations.AddField(
            model_name='upstream',
            name='proxy_ciphertext',
            field=models.TextField(blank=True, db_default='', default='', editable=False),
        ),
    ]
