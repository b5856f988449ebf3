"""The certificate authorities that this machine trusts, read once for each process."""

import ssl
from functools import cache

HTTP, SMTP = "http/1.1", "smtp"


@cache
def trusted(protocol: str) -> ssl.SSLContext:
    """A context that verifies a server's certificate and name; one for each protocol, as urllib3 names its own in it.

    Reading all authorities takes tens of milliseconds, more than all else between a click and the first message. Left
    to themselves, urllib3 and smtplib do it for each connection. Authorities added later count from the next start.
    """
    return ssl.create_default_context()
