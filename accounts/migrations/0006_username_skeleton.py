from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0005_fill_invitations'),
    ]

    operations = [
        migrations.AlterField(
            model_name='user',
            name='username',
            field=models.CharField(error_messages={'unique': 'A user with that username already exists.'}, help_text='Letters of one script (Chinese may be mixed with Latin), digits and _ - . only.', max_length=150, unique=True, verbose_name='username'),
        ),
        # The previous release inserts NULL.
        migrations.AddField(
            model_name='user',
            name='username_skeleton',
            field=models.CharField(default=None, editable=False, max_length=512, null=True, unique=True),
        ),
    ]
