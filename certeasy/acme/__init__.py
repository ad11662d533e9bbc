"""The ACME wire: RFC 8555 over HTTP."""
