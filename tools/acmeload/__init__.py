r"""A load generator for ACME servers: many clients, each with an account, a connection and http-01.

    python -m tools.acmeload --directory https://127.0.0.1:8443/acme/directory --ca root.pem \
        --clients 8 --orders 500 --pid PID --http-port 5002 --domain lab.test

Every client does what lego does for a certificate: newOrder, authorization, challenge, poll,
finalize, poll, download; it checks the names and the key of what it gets, and starts again. The
server must resolve `*.DOMAIN` to 127.0.0.1 and validate at `--http-port`. The result is one JSON
document on stdout.

It shares the machine with the server under test, so it is made to be cheap: a few processes with
threads, one kept connection per client, keys made beforehand. Its own cost is part of the report.
"""
