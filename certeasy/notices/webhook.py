"""Notices by HTTP: a POST of the notice as JSON, to one URL.

    POST /hooks/pki HTTP/1.1
    Content-Type: application/json
    Certeasy-Signature: sha256=<hex>     HMAC-SHA-256 of the body, where there is a secret-file

A status of 2xx takes it. Redirects are not followed: whoever takes notices is named by its own URL.
"""

import hashlib
import hmac

from certeasy.notices.notice import Notice
from certeasy.notices.post import NotSent
from certeasy.outward import Outward, Unreached, shown
from certeasy.outward.secret_files import NoSecret, first_line
from certeasy.settings import IpPolicy, WebhookSettings

SIGNATURE = "Certeasy-Signature"
BUSY = (408, 425, 429)
"""Refusals that may be over the next time."""
TAKEN, REFUSED, BROKEN = 200, 300, 500
MOST_OF_AN_ANSWER = 1 << 20
"""Bytes; nothing of it is used."""


class Webhook:
    """One URL that takes notices."""

    name = "webhook"

    def __init__(self, settings: WebhookSettings, policy: IpPolicy) -> None:
        self._settings = settings
        self._way = Outward(policy, settings.timeout, settings.ca_file)

    def send(self, notice: Notice) -> str:
        """Post a notice; return what was answered. Raises NotSent."""
        body = notice.encoded()
        headers = {"Content-Type": "application/json"}
        try:
            if self._settings.secret_file is not None:
                key = first_line(self._settings.secret_file, "secret-file")
                headers[SIGNATURE] = f"sha256={signature(key, body)}"
            reply = self._way.exchange("POST", self._settings.url, headers, body, MOST_OF_AN_ANSWER)
        except (NoSecret, Unreached) as error:
            raise NotSent(str(error)) from None
        told = f"{shown(self._settings.url)} answered {reply.status}"
        if not TAKEN <= reply.status < REFUSED:
            again = reply.status >= BROKEN or reply.status in BUSY
            raise NotSent(told, again=again)
        return told


def signature(key: bytes, body: bytes) -> str:
    """Return the HMAC-SHA-256 (hex) of a body, by which its sender is known."""
    return hmac.new(key, body, hashlib.sha256).hexdigest()
