# The server in a container: the packages of requirements/server.txt, by hash, and this checkout.
#
#     docker build -t certeasy .
#     docker run -v certeasy:/var/lib/certeasy -v ./config.yml:/etc/certeasy/config.yml:ro \
#       -p 8443:8443 certeasy
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements requirements
RUN python -m venv /opt/certeasy \
 && /opt/certeasy/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && /opt/certeasy/bin/pip install --no-cache-dir --require-hashes --no-build-isolation \
      -r requirements/server.txt \
 && /opt/certeasy/bin/pip uninstall --yes -r requirements/build.txt
# What impacket installs beside its library are tools to attack a domain with.
RUN find /opt/certeasy/bin -name '*.py' -delete
COPY pyproject.toml README.md LICENSE ./
COPY certeasy certeasy
COPY events events
COPY journal journal
COPY projections projections
RUN python -m venv /build \
 && /build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /opt/certeasy/bin/pip install --no-cache-dir --no-deps /wheel/certeasy-*.whl

FROM python:3.13-slim
COPY --from=build /opt/certeasy /opt/certeasy
RUN useradd --system --uid 10001 --home-dir /var/lib/certeasy --create-home certeasy \
 && chmod 0700 /var/lib/certeasy
ENV PATH=/opt/certeasy/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /var/lib/certeasy
# The journal, the signing key, and with SQLite the database.
VOLUME /var/lib/certeasy
EXPOSE 8443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9443/healthz', timeout=4)"]
ENTRYPOINT ["certeasy"]
CMD ["serve", "-f", "/etc/certeasy/config.yml"]
