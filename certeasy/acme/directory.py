"""Where clients begin: the directory, and nonces. RFC 8555 sections 7.1.1 and 7.2."""

import falcon
import msgspec

from certeasy.acme import landing
from certeasy.acme.messages import Directory, DirectoryMeta
from certeasy.acme.nonces import Nonces
from certeasy.acme.requests import Signed
from certeasy.acme.responses import JSON
from certeasy.acme.site import Desk
from certeasy.decide.problems import Problem, Refused


def check_empty(signed: Signed) -> None:
    """Return if a request only asks to see something: a POST-as-GET. RFC 8555 section 6.3."""
    if signed.payload:
        detail = "This is asked with a POST-as-GET: the payload is the empty string"
        raise Refused(Problem.MALFORMED, detail)


class DirectoryResource:
    """Lists what exists, and nothing else."""

    def __init__(self, desk: Desk) -> None:
        self._door = desk.door
        urls, server = desk.urls, desk.site.settings.server
        profiles = {each.name: each.description for each in desk.site.settings.profiles}
        meta = DirectoryMeta(
            terms_of_service=server.terms_of_service,
            website=server.website,
            caa_identities=server.caa_identities,
            external_account_required=server.external_account_required,
            profiles=profiles or None,
        )
        directory = Directory(
            new_nonce=urls.new_nonce,
            new_account=urls.new_account,
            new_order=urls.new_order,
            revoke_cert=urls.revoke_cert,
            renewal_info=urls.renewal_info,
            key_change=urls.key_change,
            new_authz=urls.new_authorization if server.pre_authorization else None,
            meta=meta if meta != DirectoryMeta() else None,
        )
        self._directory = msgspec.json.encode(directory)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:  # noqa: ARG002 - falcon's
        """Show it; unsigned."""
        resp.content_type = JSON
        resp.data = self._directory

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show it to an account. RFC 8555 section 6.3."""
        check_empty(self._door.admit(req))
        DirectoryResource.on_get(self, req, resp)


class FrontDoor(DirectoryResource):
    """The directory at the server's bare address, where people come as well as clients."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        server = desk.site.settings.server
        self._page = landing.page(desk.urls.directory, server.website, server.terms_of_service)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show the directory, or to a browser a page that says where it is."""
        resp.append_header("Vary", "Accept")
        if not landing.is_wanted(req.get_header("Accept") or ""):
            super().on_get(req, resp)
            return
        resp.content_type = landing.HTML
        resp.set_header("Content-Security-Policy", landing.POLICY)
        resp.set_header("X-Content-Type-Options", "nosniff")
        resp.set_header("Referrer-Policy", "no-referrer")
        resp.data = self._page

    on_head = on_get


class NewNonce:
    """Gives a nonce to whoever asks: HEAD is 200, GET is 204, and some clients only know one."""

    def __init__(self, desk: Desk) -> None:
        self._nonces: Nonces = desk.site.nonces
        self._door = desk.door

    def on_head(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Give one."""
        resp.set_header("Replay-Nonce", self._nonces.issue())

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Give one."""
        self.on_head(req, resp)
        resp.status = 204

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Take an account's nonce and give it another, as every POST does."""
        check_empty(self._door.admit(req))
        resp.status = 204
