"""Pictures in an S3 bucket."""

from __future__ import annotations

from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from storages.backends.s3 import S3Storage

CLIENT = Config(
    # boto3's newer default checksums break some S3 look-alikes.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    signature_version="s3v4",
    connect_timeout=3,
    read_timeout=10,
    retries={"max_attempts": 2},
)
# Threads of its own for each file, as by default, cost more than most files do.
TRANSFER = TransferConfig(use_threads=False)


class BucketStorage(S3Storage):  # type: ignore[misc]  # django-storages has no types
    """Whoever may see a picture gets a link to it that holds for five minutes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **options,
            default_acl=None,
            file_overwrite=True,
            querystring_auth=True,
            querystring_expire=300,
            object_parameters={"CacheControl": "private, max-age=31536000, immutable"},
            client_config=CLIENT,
            transfer_config=TRANSFER,
        )
