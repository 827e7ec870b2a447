"""Pictures are kept and served alike from a folder and from an S3 server (a real one, moto)."""

from __future__ import annotations

import io
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import requests
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from moto.server import ThreadedMotoServer
from PIL import Image
from pytest_django import Settings

from projects.models import Project, Scene, Take
from projects.pictures import Picture, StorageDown, check, store
from projects.storage import WholeFileStorage

BUCKET = "film-pictures"
LOCAL = {"BACKEND": "projects.storage.WholeFileStorage"}


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_client(s3_address: str) -> Iterator[Any]:
    """An S3 server with our bucket, empty."""
    client = boto3.client(
        "s3",
        endpoint_url=s3_address,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    yield client
    for kept in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=kept["Key"])
    client.delete_bucket(Bucket=BUCKET)


def storage_of_settings(monkeypatch: pytest.MonkeyPatch, address: str) -> dict[str, Any]:
    """What imagegen/settings.py makes of an environment with a bucket."""
    monkeypatch.setenv("AWS_STORAGE_BUCKET_NAME", BUCKET)
    monkeypatch.setenv("AWS_S3_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    path = Path(__file__).parent.parent / "imagegen" / "settings.py"
    storage: dict[str, Any] = runpy.run_path(str(path))["STORAGES"]["default"]
    return storage


def use(settings: Settings, storage: dict[str, Any]) -> None:
    settings.STORAGES = {**settings.STORAGES, "default": storage}


@pytest.fixture
def local(settings: Settings, tmp_path: Path) -> Path:
    """The folder that pictures are kept in."""
    settings.MEDIA_ROOT = tmp_path / "media"
    use(settings, LOCAL)
    return tmp_path / "media"


@pytest.fixture
def s3(settings: Settings, monkeypatch: pytest.MonkeyPatch, s3_address: str, s3_client: Any) -> Any:
    """A client of the bucket that pictures are kept in."""
    use(settings, storage_of_settings(monkeypatch, s3_address))
    return s3_client


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest) -> str:
    """The default storage is one and then the other."""
    request.getfixturevalue(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def picture() -> Picture:
    out = io.BytesIO()
    Image.effect_noise((300, 200), 60).save(out, "PNG")
    return check(out.getvalue())


# Both


@pytest.mark.usefixtures("storage")
def test_a_picture_and_its_thumbnail_are_kept(picture: Picture) -> None:
    stored = store(picture, "abc-0")
    assert (stored.image, stored.thumbnail) == ("takes/abc-0.png", "takes/abc-0.thumb.webp")
    assert default_storage.open(stored.image).read() == picture.data
    assert default_storage.open(stored.thumbnail).read() == picture.thumbnail
    assert (stored.content_type, stored.width, stored.height) == ("image/png", 300, 200)
    assert (stored.size, stored.sha256) == (len(picture.data), picture.sha256)


@pytest.mark.usefixtures("storage")
def test_keeping_a_picture_twice_changes_nothing(picture: Picture) -> None:
    assert store(picture, "abc-0") == store(picture, "abc-0")
    _, files = default_storage.listdir("takes")
    assert sorted(files) == ["abc-0.png", "abc-0.thumb.webp"]
    assert default_storage.open("takes/abc-0.png").read() == picture.data


@pytest.mark.usefixtures("storage")
def test_a_large_picture_is_kept_whole() -> None:
    """More than boto3 sends in one part."""
    data = os.urandom(9_000_000)
    big = Picture(data, "image/jpeg", "jpg", 1, 1, "0" * 64, b"small")
    assert default_storage.open(store(big, "big").image).read() == data


@pytest.mark.django_db
@pytest.mark.usefixtures("storage")
def test_what_is_stored_makes_a_take(picture: Picture) -> None:
    alice = User.objects.create_user("alice")
    Take.objects.create(made_by=alice, **asdict(store(picture, "abc-0")))
    take = Take.objects.get()
    assert take.is_stored
    assert take.image.read() == picture.data
    assert (take.width, take.height, take.size) == (300, 200, len(picture.data))


# A local folder


def test_a_folder_that_is_none_is_trouble_of_the_storage(local: Path, picture: Picture) -> None:
    local.write_text("a file stands where the folder should be")
    with pytest.raises(StorageDown):
        store(picture, "abc-0")


class Failing(ContentFile):
    """A file that breaks off in the middle."""

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        yield b"half a picture"
        raise OSError("no space left on device")


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(local: Path) -> None:
    default_storage.save("takes/a.png", ContentFile(b"whole"))
    with pytest.raises(OSError, match="no space"):
        default_storage.save("takes/a.png", Failing(b""))
    assert [path.name for path in (local / "takes").iterdir()] == ["a.png"]
    assert (local / "takes" / "a.png").read_bytes() == b"whole"


WRITER = """
import sys, time
from django.conf import settings
settings.configure(USE_TZ=True)
from django.core.files.base import File
from projects.storage import WholeFileStorage

class Slow(File):
    def chunks(self, chunk_size=None):
        yield b"half a picture"
        print("half", flush=True)
        time.sleep(60)

WholeFileStorage(location=sys.argv[1]).save("a.png", Slow(None))
"""


@pytest.mark.parametrize("before", [None, b"the one before"])
def test_a_worker_that_is_killed_leaves_no_half_a_picture(
    tmp_path: Path, before: bytes | None
) -> None:
    storage = WholeFileStorage(location=tmp_path)
    if before is not None:
        storage.save("a.png", ContentFile(before))
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    assert writer.stdout is not None
    with writer.stdout as said:
        assert said.readline() == b"half\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert storage.exists("a.png") == (before is not None)
    assert before is None or storage.open("a.png").read() == before
    assert storage.save("a.png", ContentFile(b"the next")) == "a.png"
    assert storage.open("a.png").read() == b"the next"


def test_a_reader_sees_a_whole_picture_while_it_is_written_again(tmp_path: Path) -> None:
    storage = WholeFileStorage(location=tmp_path)
    storage.save("a.png", ContentFile(bytes(1_000_000)))
    with storage.open("a.png") as reader:
        storage.save("a.png", ContentFile(b"\1" * 1_000_000))
        assert reader.read() == bytes(1_000_000)


def test_others_may_read_the_files_as_the_setting_says(local: Path) -> None:
    default_storage.save("takes/a.png", ContentFile(b"whole"))
    assert (local / "takes" / "a.png").stat().st_mode & 0o777 == 0o644


# An S3 server


def test_a_file_in_the_bucket_says_what_it_is(s3: Any, picture: Picture) -> None:
    stored = store(picture, "abc-0")
    assert s3.head_object(Bucket=BUCKET, Key=stored.image)["ContentType"] == "image/png"
    assert s3.head_object(Bucket=BUCKET, Key=stored.thumbnail)["ContentType"] == "image/webp"


def test_a_missing_bucket_is_trouble_of_the_storage(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, s3_address: str, picture: Picture
) -> None:
    use(settings, storage_of_settings(monkeypatch, s3_address))
    with pytest.raises(StorageDown, match="NoSuchBucket"):
        store(picture, "abc-0")


def test_a_server_that_is_down_is_trouble_of_the_storage(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
    use(settings, storage_of_settings(monkeypatch, "http://127.0.0.1:9"))
    began = time.monotonic()
    with pytest.raises(StorageDown):
        store(picture, "abc-0")
    assert time.monotonic() - began < 15


@pytest.fixture
def take(db: None, s3: Any, picture: Picture) -> Take:
    alice = User.objects.create_user("alice")
    film = Project.objects.create(owner=alice, name="Hľadanie")
    scene = Scene.objects.create(project=film, number="12A", position=1)
    return Take.objects.create(
        made_by=alice, project=film, scene=scene, **asdict(store(picture, "abc-0"))
    )


@pytest.fixture
def alice(client: Client, take: Take) -> Client:
    client.force_login(take.made_by)
    return client


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("name", ["picture", "thumbnail"])
def test_the_way_into_the_bucket_is_a_signed_link(
    alice: Client, take: Take, picture: Picture, name: str, method: str
) -> None:
    answer = getattr(alice, method)(reverse(f"projects:{name}", args=[take.pk]))
    assert answer.status_code == 302
    link = urlsplit(answer["Location"])
    query = parse_qs(link.query)
    assert link.path == f"/{BUCKET}/takes/abc-0.{'png' if name == 'picture' else 'thumb.webp'}"
    assert query["X-Amz-Signature"]
    seconds = int(answer["Cache-Control"].removeprefix("private, max-age="))
    assert 0 < seconds < int(query["X-Amz-Expires"][0]) == 300
    file = requests.request(method, answer["Location"], timeout=5)
    assert file.status_code == 200
    assert file.headers["Content-Type"] == ("image/png" if name == "picture" else "image/webp")
    if method == "get":
        assert file.headers["Content-Disposition"].startswith("inline")
        assert file.content == (picture.data if name == "picture" else picture.thumbnail)


def test_a_link_for_head_is_signed_for_head(alice: Client, take: Take) -> None:
    """S3 refuses a HEAD on a link that was signed for GET (moto does not look)."""
    address = reverse("projects:picture", args=[take.pk])
    while True:
        both = [urlsplit(getattr(alice, verb)(address)["Location"]) for verb in ("get", "head")]
        get, head = (parse_qs(link.query) for link in both)
        if get["X-Amz-Date"] == head["X-Amz-Date"]:  # not when a second has just passed
            assert get["X-Amz-Signature"] != head["X-Amz-Signature"]
            return


def test_a_picture_in_the_bucket_can_be_saved_under_its_scenes_name(
    alice: Client, take: Take
) -> None:
    answer = alice.get(reverse("projects:picture", args=[take.pk]), {"download": "1"})
    file = requests.get(answer["Location"], timeout=5)
    assert file.headers["Content-Disposition"] == (
        f"attachment; filename*=utf-8''H%C4%BEadanie_12A_{take.pk[-6:]}.png"
    )


def test_a_stranger_gets_no_link(client: Client, take: Take) -> None:
    client.force_login(User.objects.create_user("charlie"))
    for name in ("picture", "thumbnail"):
        assert client.get(reverse(f"projects:{name}", args=[take.pk])).status_code == 404
