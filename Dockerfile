# docker build -t duologue . && docker run --rm -p 8998:8998 duologue
# Browsers allow the microphone at localhost and over https: see docs/serving.md.
# The digest of python:3.12-slim, so that the same image is built again; `docker pull python:3.12-slim` prints a newer one.
FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea

RUN useradd --create-home talk
WORKDIR /app
COPY pyproject.toml README.md LICENSE constraints.txt install.py ./
COPY duologue duologue
# PyTorch's CPU build, unless the image is built where there is an NVIDIA driver.
RUN PIP_NO_CACHE_DIR=1 python install.py --here serve webrtc
USER talk
EXPOSE 8998
HEALTHCHECK --interval=10s --start-period=120s CMD \
    python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8998/healthz', timeout=5)"
# Python must be process 1 itself, so that SIGTERM reaches it.
ENTRYPOINT ["duologue", "serve", "--host", "0.0.0.0"]
