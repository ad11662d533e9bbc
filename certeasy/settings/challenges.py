"""Where each kind of challenge looks."""

DNS_CHALLENGES = frozenset({"dns-01", "dns-account-01", "dns-persist-01"})
"""Into the DNS, and nowhere else."""
WITHOUT_TOKEN = frozenset({"dns-persist-01"})
"""What proves by a record that is there for good, and has no token of its own."""
HOST_CHALLENGES = frozenset({"http-01", "tls-alpn-01"})
"""At the host itself."""
