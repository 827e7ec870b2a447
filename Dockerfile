# One image for every process of the Procfile: `honcho start web`, `honcho start orders` ...
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HOST=0.0.0.0 PORT=8000 VAR_DIR=/app/var STATIC_ROOT=/app/staticfiles
WORKDIR /app

COPY requirements.txt .
RUN pip install --quiet -r requirements.txt

COPY . .
# The key is for this step only and signs nothing.
RUN for file in locale/*/LC_MESSAGES/django.po; do \
      pybabel --quiet compile --input-file "$file" --output-file "${file%.po}.mo" || exit 1; \
    done \
 && SECRET_KEY=only-for-this-step python manage.py collectstatic --noinput --verbosity 0 \
 && python -m compileall -q projects credits generation imagegen \
 && useradd --system --uid 1000 --home-dir /app imagegen \
 && mkdir --parents var \
 && chown imagegen var

USER imagegen
VOLUME /app/var
EXPOSE 8000
CMD ["honcho", "start", "--no-prefix", "web"]
