# Fieldwork and exactly the packages of envs/requirements.lock; how to use it: README.md.

# By its digest, which stands for amd64, arm64 and others: docker-library/repo-info, 25 August 2026.
FROM python:3.12.14-slim-bookworm@sha256:0f5b26b9518d002b6173fd61daad821fa340635ebfec5bba471013f9ca114579

# As the Makefile does it, and before all else: a change of the workflow does not install anew.
COPY envs /fieldwork/envs
RUN python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /fieldwork/envs/requirements.lock

COPY Snakefile LICENSE /fieldwork/
COPY config /fieldwork/config
COPY profiles /fieldwork/profiles
COPY rules /fieldwork/rules
COPY scripts /fieldwork/scripts
# Whoever runs it may not write there, and would compile every module in every job.
RUN python -m compileall -q /fieldwork/scripts

# For a user whom the image does not know, as with --user: Snakemake asks for a name, and keeps its caches at home.
ENV USER=fieldwork HOME=/tmp
# The folder that is mounted: config, and what comes out.
WORKDIR /data
ENTRYPOINT ["snakemake", "--snakefile", "/fieldwork/Snakefile"]
CMD ["--cores", "all"]
