# Fieldwork and exactly the packages of envs/requirements.lock. docs/container.md shows how to use it.

# Pinned by the digest for amd64, arm64 and others: docker-library/repo-info, 25 August 2026.
FROM python:3.12.14-slim-bookworm@sha256:0f5b26b9518d002b6173fd61daad821fa340635ebfec5bba471013f9ca114579

# The Makefile's command. It comes first, so a change of the workflow does not install the packages again.
COPY envs /fieldwork/envs
RUN python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /fieldwork/envs/requirements.lock

COPY Snakefile LICENSE /fieldwork/
COPY config /fieldwork/config
COPY profiles /fieldwork/profiles
COPY rules /fieldwork/rules
COPY scripts /fieldwork/scripts
# The user may not write there, and without this would compile every module in every job.
RUN python -m compileall -q /fieldwork/scripts

# For a user whom the image does not know, as with --user: Snakemake needs a name, and keeps its caches in HOME.
ENV USER=fieldwork HOME=/tmp
# The mounted folder: config, and the results.
WORKDIR /data
ENTRYPOINT ["snakemake", "--snakefile", "/fieldwork/Snakefile"]
CMD ["--cores", "all"]
