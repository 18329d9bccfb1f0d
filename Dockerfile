# Retic's one image: `docker build -t retic.dev/retic:0.1.0 .` The controller, the nodes' agents and the gateways
# all run from it. `make image` builds the same without Docker, by the same tools/image/make.

FROM golang:1.24-bookworm AS cni
WORKDIR /src
COPY tools/image/make tools/image/make
COPY cni cni
RUN tools/image/make cni /opt/retic/cni/retic-cni

FROM python:3.11-slim-bookworm AS python
WORKDIR /src
COPY requirements.image.lock ./
COPY tools/image/make tools/image/make
RUN tools/image/make deps /opt/retic /usr/local/bin
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN tools/image/make retic /opt/retic

FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates iproute2 nftables \
    && rm -rf /var/lib/apt/lists/*
COPY --from=python /opt/retic /opt/retic
COPY --from=cni /opt/retic/cni /opt/retic/cni
ENV PATH=/opt/retic/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GRPC_ENABLE_FORK_SUPPORT=0
# Who needs more says so: the nodes' agents run as root, with stated capabilities.
USER 65532:65532
ENTRYPOINT ["retic"]
