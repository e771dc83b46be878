"""Login by WeChat: by QR code, and by the official account in WeChat's own browser.

allauth's provider knows the QR code only. Both ways lead to one account, because WeChat names the same `unionid` in
both once the two applications belong to one account of its open platform.
"""
