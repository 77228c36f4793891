# docker build -t duologue . && docker run --rm -p 8998:8998 duologue
# Browsers allow the microphone at localhost and over https: see docs/serving.md.
FROM python:3.12-slim

RUN useradd --create-home talk
WORKDIR /app
COPY pyproject.toml README.md LICENSE constraints.txt install.py ./
COPY duologue duologue
# PyTorch's CPU build, unless the image is built where there is an NVIDIA driver.
RUN PIP_NO_CACHE_DIR=1 python install.py --here serve
USER talk
EXPOSE 8998
HEALTHCHECK --interval=10s --start-period=120s CMD \
    python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8998/healthz', timeout=5)"
# Python must be process 1 itself, so that SIGTERM reaches it.
ENTRYPOINT ["duologue", "serve", "--host", "0.0.0.0"]
