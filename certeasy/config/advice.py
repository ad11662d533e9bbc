"""What may be meant so, but should not go unnoticed: one line each, at start and by `validate`."""

from collections.abc import Iterator
from fractions import Fraction
from ipaddress import ip_address

from msgspec.structs import fields

from certeasy.config.forms import duration_text
from certeasy.settings import (
    AcmeSettings,
    AuthoritySettings,
    DnsProfile,
    IpPolicy,
    IssuancePolicy,
    LogSettings,
    NoticesSettings,
    RenewalInfoSettings,
    Settings,
)
from certeasy.settings.adcs import AdcsSettings
from certeasy.settings.challenges import DNS_CHALLENGES, HOST_CHALLENGES
from certeasy.settings.limits import FOR_ALL, PER_ACCOUNT, RateLimiting
from certeasy.settings.names import parse

_HTTP_PORT = 80
_HTTPS_PORT = 443
_ONE_BATCH = 64 << 20
_LATE = Fraction(9, 10)
_REQUESTS_OF_AN_ORDER = 24
_UNLIMITED = {
    "global_": "an address may send any number of requests",
    "abuse": "forged signatures and guessed ids are answered without end",
    "account_creation": "an address may register any number of accounts",
    "account_changes": "an account may change its contacts or key without end",
    "order_creation": "an account may place any number of orders",
    "san_budget": "an account may order any number of names",
    "duplicate_certificate": "the same certificate is issued without end",
    "failed_validation": "an account may have a name validated without end",
    "pending_authorizations": "an account may leave any number of authorizations open",
}
# Where connecting on a stranger's word does the most harm: this machine, and the place where
# clouds keep the credentials of machines.
_DELICATE = {"127.0.0.1": "this machine itself", "169.254.169.254": "link-local addresses"}


def warnings(settings: Settings) -> tuple[str, ...]:
    """Return what an operator should know about settings that are in order otherwise."""
    return (
        *_server(settings),
        *_issuing(settings),
        *_longer(settings),
        *_validating(settings),
        *_renewing(settings.renewal_info),
        *_telling(settings.notices),
        *_limiting(settings.rate_limiting),
    )


def _telling(notices: NoticesSettings) -> Iterator[str]:
    """Yield what is notable about notices."""
    webhook, smtp = notices.webhook, notices.smtp
    if notices != NoticesSettings() and webhook is None and smtp is None:
        yield "notices has neither webhook nor smtp: nobody is told"
    if webhook is not None and webhook.url.startswith("http:"):
        yield "notices.webhook.url is http: whoever is on the way reads the notices, and the URL"
    if smtp is not None and smtp.security == "none":
        yield "notices.smtp.security is none: whoever is on the way reads the notices"


def _renewing(info: RenewalInfoSettings) -> Iterator[str]:
    """Yield what is notable about when certificates are renewed."""
    if info.lifetime_fraction > _LATE:
        yield (
            f"renewal-info.lifetime-fraction is {info.lifetime_fraction}: little time is left for a"
            " renewal that fails at first"
        )


def _limiting(limits: RateLimiting) -> Iterator[str]:
    """Yield every protection that is switched off, one line each, and what hinders good clients."""
    if not limits.enabled:
        yield (
            "rate-limiting.enabled is false: there is no limit at all, and one client may take all"
            " that this server and its authorities can do"
        )
        return
    words = {each.name: each.encode_name for each in fields(limits)}
    for name in (*FOR_ALL, *PER_ACCOUNT):
        if not getattr(limits, name).enabled:
            yield f"rate-limiting.{words[name]} is switched off: {_UNLIMITED[name]}"
    for override in limits.overrides:
        for name in PER_ACCOUNT:
            if getattr(override, name).enabled is False and getattr(limits, name).enabled:
                yield (
                    f"rate-limiting.{words[name]} is switched off for accounts with the binding"
                    f' "{override.binding}": {_UNLIMITED[name]}'
                )
    if any(network.prefixlen == 0 for network in limits.whitelist):
        yield (
            "rate-limiting.whitelist contains everybody: no address is held to limits on requests,"
            " accounts and orders"
        )
    if limits.global_.enabled and limits.global_.burst < _REQUESTS_OF_AN_ORDER:
        yield (
            f"rate-limiting.global.burst is {limits.global_.burst}: some clients need"
            f" {_REQUESTS_OF_AN_ORDER} requests in quick succession for one certificate"
        )


def _server(settings: Settings) -> Iterator[str]:
    """Yield what is notable about listeners, proxies and files."""
    server = settings.server
    if not server.tls:
        yield "server.tls is false: the listener speaks plain HTTP, so only a proxy may reach it"
    if not server.tls and settings.tls_certificate_manager.bundles:
        yield "server.tls is false: tls-certificate-manager.bundles are not used"
    if not (server.tls or server.remote_ip_header or server.proxy_protocol):
        yield (
            "server.tls is false, and no proxy tells who the client is (server.remote-ip-header,"
            " server.proxy-protocol): behind a proxy all clients share the limits of one address"
        )
    if server.trusted_proxies and not (server.remote_ip_header or server.proxy_protocol):
        yield (
            "server.trusted-proxies does nothing without server.remote-ip-header or"
            " server.proxy-protocol"
        )
    if any(network.prefixlen == 0 for network in server.trusted_proxies):
        yield "server.trusted-proxies contains everybody: any client can claim any address"
    for key, listen in (("server", server.listen), ("admin", settings.admin.listen)):
        if listen.endswith(":0"):
            yield f"{key}.listen has port 0: the port is another one at every start"
    yield from _by_acme(settings)
    yield from _logs(settings.logs)
    if settings.audit.min_free_bytes < _ONE_BATCH:
        yield "audit.min-free-bytes is less than one batch may need: a full disk may be met late"


def _by_acme(settings: Settings) -> Iterator[str]:
    """Yield what is notable about another ACME server, for the server's own certificate."""
    modes = {bundle.mode for bundle in settings.tls_certificate_manager.bundles}
    acme = settings.tls_certificate_manager.acme
    if acme != AcmeSettings() and not modes & {"acme", "letsencrypt"}:
        yield "tls-certificate-manager.acme is not used: no bundle has mode acme or letsencrypt"
    if modes & {"acme", "letsencrypt"} and not acme.http_addr.endswith(":80"):
        yield (
            f"tls-certificate-manager.acme.http-addr is {acme.http_addr}: the ACME server looks at"
            " port 80 of each host, so that has to lead there"
        )


def _logs(logs: LogSettings) -> Iterator[str]:
    """Yield what is notable about the log."""
    if logs.level == "off":
        yield "logs.level is off: problems will not be seen in the log"
    if logs.file is not None and logs.output != "file":
        yield f"logs.file is not used: logs.output is {logs.output}"
    if logs.rotate.max_size_mb and logs.output != "file":
        yield f"logs.rotate is not used: logs.output is {logs.output}"


def _issuing(settings: Settings) -> Iterator[str]:
    """Yield what is notable about authorities and policies."""
    for authority in settings.authorities:
        yield from _authority(authority, settings)
    used = {name for binding in settings.policy_bindings for name in binding.authorities}
    used |= {profile.authority for profile in settings.profiles if profile.authority}
    bound = {binding.policy for binding in settings.policy_bindings}
    offered = {profile.policy for profile in settings.profiles}
    for authority in settings.authorities:
        if authority.name not in used:
            yield f'authority "{authority.name}" is bound to no policy'
    for policy in settings.issuance_policies:
        if policy.name not in bound:
            what = "only its profiles are served" if policy.name in offered else "nothing is issued"
            yield f'policy "{policy.name}" is bound to no authority: {what} under it'
        yield from _unprovable(policy)
        if "dns-persist-01" in policy.challenges:
            yield (
                f'policy "{policy.name}" offers dns-persist-01, a draft: who has an account key has'
                " its certificates, for as long as the record is there"
            )
        if policy.csr.allowed_extra_eku:
            extra = ", ".join(policy.csr.allowed_extra_eku)
            yield f'policy "{policy.name}" allows more than serverAuth: {extra}'
        if policy.csr.subject == "ignore":
            what = (
                "whatever a CSR has beside its names (O, OU ...) reaches an authority that copies"
            )
            yield f'policy "{policy.name}" ignores subjects: {what}'


def _authority(authority: AuthoritySettings, settings: Settings) -> Iterator[str]:
    """Yield what is notable about one authority."""
    if authority.embedded is not None:
        yield (
            f'authority "{authority.name}" is the embedded CA: its key is kept in the database;'
            " not for production"
        )
    if authority.adcs is not None:
        yield from _adcs(authority.name, authority.adcs, settings)
    if authority.type == "adcs-cli":
        yield (
            f'authority "{authority.name}" is asked by certreq and certutil, a process for each'
            " call: prefer adcs, which finds lost certificates, too"
        )
    if authority.disable_ca_revocation and authority.embedded is None:
        yield (
            f'authority "{authority.name}" is not told of revocations: whoever looks at its list'
            " takes revoked certificates for good ones"
        )
    if authority.embedded is None:
        yield from _impersonating(authority.name, settings)


def _impersonating(name: str, settings: Settings) -> Iterator[str]:
    """Yield where a domain would take a server's certificate for a person's or a machine's."""
    bound = {b.policy for b in settings.policy_bindings if name in b.authorities}
    for policy in settings.issuance_policies:
        if policy.name in bound and "clientAuth" in policy.csr.allowed_extra_eku:
            yield (
                f'policy "{policy.name}" allows clientAuth, and "{name}" is a CA of a domain: with'
                " a template that takes names from the request, whoever may order a name may be"
                " able to log on as what it names: see 'certeasy adcs check -f config.yml'"
            )


def _adcs(name: str, adcs: AdcsSettings, settings: Settings) -> Iterator[str]:
    """Yield what is notable about a CA of a domain."""
    if " " in adcs.certificate_template:
        yield (
            f'authority "{name}" asks for the template "{adcs.certificate_template}": that looks'
            " like its display name, and its name has no blanks (certtmpl.msc, tab General)"
        )
    if adcs.auth == "ntlm":
        yield (
            f'authority "{name}" is asked with NTLM, which domains are giving up: prefer kerberos'
        )
    if adcs.lost_answers == "probe" and not adcs.request_attributes:
        yield (
            f'authority "{name}": a lost certificate is found by its key alone: request-attributes'
            " is false"
        )
    for policy in settings.issuance_policies:
        serves = any(
            name in binding.authorities and binding.policy == policy.name
            for binding in settings.policy_bindings
        )
        if serves and policy.max_validity is not None:
            yield (
                f'authority "{name}": how long a certificate lives is its template\'s say;'
                f' one that outlives max-validity of policy "{policy.name}" is refused and revoked'
            )


def _longer(settings: Settings) -> Iterator[str]:
    """Yield the policies and profiles whose max-validity no embedded CA that serves them gives."""
    bound = {each.policy: each.authorities for each in settings.policy_bindings}
    limits = [
        (f'policy "{policy.name}"', policy.max_validity, bound.get(policy.name, ()))
        for policy in settings.issuance_policies
    ]
    limits += [
        (
            f'profile "{profile.name}"',
            profile.max_validity,
            (profile.authority,) if profile.authority else bound.get(profile.policy, ()),
        )
        for profile in settings.profiles
    ]
    for who, longest, serving in limits:
        for authority in settings.authorities:
            embedded = authority.embedded
            if embedded is None or longest is None or authority.name not in serving:
                continue
            given = embedded.certificate_validity
            if longest > given:
                yield (
                    f"{who} has max-validity {duration_text(longest)}, but certificates of"
                    f' authority "{authority.name}" live for {duration_text(given)} (its'
                    " certificate-validity)"
                )


def _unprovable(policy: IssuancePolicy) -> Iterator[str]:
    """Yield what a policy permits that none of its challenges proves."""
    wildcards = any(parse(rule).wildcard for rule in policy.dns.allow)
    if wildcards and not DNS_CHALLENGES.intersection(policy.challenges):
        yield (
            f'policy "{policy.name}" permits wildcards, but refuses them all: only a DNS challenge'
            " (dns-01) proves one"
        )
    if policy.ip.allow_cidrs and not HOST_CHALLENGES.intersection(policy.challenges):
        yield (
            f'policy "{policy.name}" permits IP addresses, but refuses them all: only http-01 and'
            " tls-alpn-01 prove one"
        )


def _validating(settings: Settings) -> Iterator[str]:
    """Yield what is notable about where challenges are looked for."""
    used = {policy.dns_validation_profile for policy in settings.issuance_policies}
    for profile in settings.dns_validation_profiles:
        if profile.name not in used:
            yield f'profile "{profile.name}" is used by no policy'
        if (port := profile.http_01_port) != _HTTP_PORT:
            yield f'profile "{profile.name}" looks for http-01 on port {port}, not 80'
        if (port := profile.tls_alpn_01_port) != _HTTPS_PORT:
            yield f'profile "{profile.name}" looks for tls-alpn-01 on port {port}, not 443'
        yield from _addresses(profile)
    for policy in settings.issuance_policies:
        yield from _unasked(policy, settings)


def _unasked(policy: IssuancePolicy, settings: Settings) -> Iterator[str]:
    """Yield the zones in which a challenge of the DNS cannot be met."""
    offered = [kind for kind in policy.challenges if kind.startswith("dns-")]
    for profile in settings.dns_validation_profiles:
        for zone in profile.zones if profile.name == policy.dns_validation_profile else ():
            if offered and not zone.system and not zone.dns_server:
                names = ", ".join(zone.suffixes)
                yield (
                    f'policy "{policy.name}" offers {offered[0]}, but the zone {names} of profile'
                    f' "{profile.name}" has hosts only, and nobody to ask for other records'
                )


def _addresses(profile: DnsProfile) -> Iterator[str]:
    """Yield what is notable about the addresses that a profile connects to."""
    policy = profile.resolved_ip_policy
    open_to_all = any(network.prefixlen == 0 for network in policy.allow_cidrs)
    if not policy.allow_cidrs or open_to_all:
        yield f'profile "{profile.name}" may connect to every address that it does not deny'
    for text, what in _DELICATE.items():
        if _allows(policy, text):
            yield f'profile "{profile.name}" may connect to {what} ({text})'


def _allows(policy: IpPolicy, text: str) -> bool:
    """Tell whether a policy allows an address."""
    address = ip_address(text)
    if any(address in network for network in policy.deny_cidrs):
        return False
    return not policy.allow_cidrs or any(address in network for network in policy.allow_cidrs)
