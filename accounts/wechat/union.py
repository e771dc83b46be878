"""One account for both ways to log in by WeChat.

Its `unionid` is the same for all applications of one operator.
"""

from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.http import HttpRequest

from accounts import addresses
from accounts.models import User
from accounts.wechat.browsers import PROVIDER_ID


def of(account: SocialAccount) -> str:
    """Return the unionid of a login by WeChat; empty where there is none."""
    data = account.extra_data if account.provider == PROVIDER_ID else None
    found = data.get("unionid") if isinstance(data, dict) else None
    return found if isinstance(found, str) else ""


def digests(account: SocialAccount) -> list[str]:
    """Return the digests by which a login at another service never counts as new again."""
    found = [addresses.login_digest(account.provider, account.uid)]
    union_id = of(account)
    return [*found, addresses.login_digest(f"{PROVIDER_ID} union", union_id)] if union_id else found


def join(request: HttpRequest, login: SocialLogin) -> User | None:
    """Give a new login to the user who came by the other application before."""
    union_id = of(login.account)
    if not union_id or login.is_existing:
        return None
    known = SocialAccount.objects.filter(provider=PROVIDER_ID, extra_data__unionid=union_id)
    found = known.select_related("user").order_by("pk").first()
    if found is None:
        return None
    login.connect(request, found.user)
    user: User = found.user
    return user
