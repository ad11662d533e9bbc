"""What a person sees who opens the server's address in a browser: where the directory is, and how a
client is told.

One page without scripts, styles, pictures or forms. Nothing of a request is in it.
"""

from html import escape

HTML = "text/html; charset=utf-8"
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

CLIENTS = (
    (
        "certbot",
        "REQUESTS_CA_BUNDLE=ca.pem certbot certonly --server {url} --standalone -d NAME",
    ),
    ("lego", "LEGO_CA_CERTIFICATES=ca.pem lego --server {url} --email YOU --http -d NAME run"),
    ("acme.sh", "acme.sh --issue --server {url} --ca-bundle ca.pem --standalone -d NAME"),
    ("cert-manager", "Issuer: spec.acme.server: {url}, spec.acme.caBundle: base64 of ca.pem"),
    ("Caddy", "acme_ca {url} and acme_ca_root ca.pem in the Caddyfile"),
    ("Traefik", "certificatesResolvers.NAME.acme.caServer: {url}, and LEGO_CA_CERTIFICATES=ca.pem"),
    ("Apache mod_md", "MDCertificateAuthority {url} and MDCACertificateFile ca.pem"),
    ("simple-acme", "wacs --baseuri {url}, with the root in the Windows certificate store"),
    ("Posh-ACME", "Set-PAServer {url}, with the root in the Windows certificate store"),
)
"""Each client, and how it is told of this server."""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>ACME server</title></head>
<body>
<h1>ACME server</h1>
<p>This server issues certificates to ACME clients (RFC 8555). Its directory:</p>
<p><a href="{url}"><code>{url}</code></a></p>
{links}<h2>Clients</h2>
<p><code>ca.pem</code> is the root that this server's own certificate leads to; your administrator
has it. A client on a machine that trusts it already needs no file.</p>
<dl>
{clients}</dl>
</body>
</html>
"""


def page(directory: str, website: str | None, terms: str | None) -> bytes:
    """Return the page; its texts are ours and the settings', escaped."""
    url = escape(directory)
    named = (("About this service", website), ("Terms of service", terms))
    links = "".join(
        f'<p><a href="{escape(target)}">{what}</a></p>\n' for what, target in named if target
    )
    clients = "".join(
        f"<dt>{name}</dt><dd><code>{line.format(url=url)}</code></dd>\n" for name, line in CLIENTS
    )
    return _PAGE.format(url=url, links=links, clients=clients).encode()


def is_wanted(accept: str) -> bool:
    """Whether an Accept header is a browser's: it names HTML, and not JSON before it.

    Clients that take anything (`*/*`), or say nothing, want the directory.
    """
    wishes = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    if "text/html" not in wishes:
        return False
    json = [n for n, wish in enumerate(wishes) if wish in ("application/json", "application/*")]
    return not json or wishes.index("text/html") < json[0]
