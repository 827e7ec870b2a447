"""The file hosts: uploads of reference images, and the pictures that tasks made."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from generation.kie.sandbox import records
from generation.kie.sandbox.account import Account
from generation.kie.sandbox.answers import Reply, Request, as_json, bad_gateway, storage_error
from generation.kie.sandbox.tasks import Task

USER = "10010"  # the account's number in the addresses of its uploads
RESULT_LIFE = 14 * 24 * 3600  # seconds
Parts = dict[str, tuple[str, str, bytes]]  # field: (file name, content type, content)


# Uploads


def upload_stream(account: Account, request: Request) -> Reply:
    """multipart: `file`, `uploadPath`, `fileName`?"""
    if refusal := _upload_refusal(account, request):
        return refusal
    parts = multipart(request)
    if "file" not in parts:
        return _upload_error(account, 400, "Missing required parameter: file")
    own_name, content_type, data = parts["file"]
    name = _text(parts, "fileName") or own_name
    return _kept(account, _text(parts, "uploadPath"), name, content_type, data)


def upload_base64(account: Account, request: Request) -> Reply:
    """JSON: `base64Data` (bare or a data URL), `uploadPath`, `fileName`?"""
    if refusal := _upload_refusal(account, request):
        return refusal
    fields = _fields(request)
    header, comma, text = fields.get("base64Data", "").rpartition(",")
    if not text:
        return _upload_error(account, 400, "Missing required parameter: base64Data")
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return _upload_error(account, 400, "Invalid Base64 data")
    content_type = header.removeprefix("data:").partition(";")[0] if comma else ""
    name, folder = fields.get("fileName", ""), fields.get("uploadPath", "")
    return _kept(account, folder, name, content_type, data)


def upload_url(account: Account, request: Request) -> Reply:
    """JSON: `fileUrl`, `uploadPath`, `fileName`? The sandbox fetches nothing from elsewhere: it
    takes only links of its own."""
    if refusal := _upload_refusal(account, request):
        return refusal
    fields = _fields(request)
    if not fields.get("fileUrl"):
        return _upload_error(account, 400, "Missing required parameter: fileUrl")
    found = _own_file(account, fields["fileUrl"])
    if found is None:
        return _upload_error(account, 500, "Failed to download the file")
    name = fields.get("fileName") or urlsplit(fields["fileUrl"]).path.rpartition("/")[2]
    return _kept(account, fields.get("uploadPath", ""), name, *found)


def _upload_refusal(account: Account, request: Request) -> Reply | None:
    scheme, _, key = str(request.headers.get("Authorization", "")).partition(" ")
    wanted = account.options.key
    if scheme != "Bearer" or not key.strip() or (wanted and key.strip() != wanted):
        return _upload_error(account, 401, "Authentication failed: Invalid API Key")
    faults = account.faults.take("upload")
    if "upload_502" in faults:
        return bad_gateway()
    if "upload_500" in faults:
        return _upload_error(account, 500, "File upload failed")
    return None


def _upload_error(account: Account, code: int, msg: str) -> Reply:
    body = {"success": False, "code": code, "msg": msg, "data": None}
    return as_json(body, code if account.options.real_statuses else 200)


def _kept(account: Account, folder: str, name: str, content_type: str, data: bytes) -> Reply:
    folder = folder.strip("/")
    if not folder:
        return _upload_error(account, 400, "Missing required parameter: uploadPath")
    content_type = content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
    ending = mimetypes.guess_extension(content_type) or ""
    name = name.replace("/", "_") or secrets.token_hex(8) + ending
    path = f"kieai/{USER}/{folder}/{name}"
    account.tasks.keep_upload(path, content_type, data)
    return as_json(
        {
            "success": True,
            "code": 200,
            "msg": "File uploaded successfully",
            "data": {
                "success": True,
                "fileName": name,
                "filePath": path,
                "downloadUrl": f"{account.url}/{quote(path)}",
                "fileSize": len(data),
                "mimeType": content_type,
                "uploadedAt": datetime.now(UTC).isoformat(timespec="milliseconds"),
            },
        }
    )


def multipart(request: Request) -> Parts:
    """The parts of a multipart/form-data body; {} if it is none."""
    boundary = request.headers.get_boundary()
    if request.content_type != "multipart/form-data" or not boundary:
        return {}
    parts: Parts = {}
    for piece in (b"\r\n" + request.body).split(b"\r\n--" + boundary.encode())[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = _part_headers(head)
        name = headers.get_param("name", header="Content-Disposition")
        content_type = headers.get_content_type() if "Content-Type" in headers else ""
        parts[str(name)] = (headers.get_filename() or "", content_type, content)
    return parts


def _part_headers(head: bytes) -> Message:
    message = Message()
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        message[name] = value.strip()
    return message


def _text(parts: Parts, name: str) -> str:
    return parts[name][2].decode("utf-8", "replace") if name in parts else ""


def _fields(request: Request) -> dict[str, str]:
    try:
        body = request.json()
    except ValueError:
        return {}
    return {k: v for k, v in body.items() if isinstance(v, str)} if isinstance(body, dict) else {}


# Fetching


def uploaded(account: Account, request: Request) -> Reply:
    found = account.tasks.upload(request.path.lstrip("/"))
    if found is None:
        return storage_error(404, "NoSuchKey", "The specified key does not exist.")
    return Reply(found[1], 200, found[0], {"X-Content-Type-Options": "nosniff"})


def picture(account: Account, request: Request) -> Reply:
    """A picture that a task made. A key has no business here: file hosts refuse it."""
    if "Authorization" in request.headers:
        return storage_error(400, "InvalidArgument", "Unsupported Authorization Type")
    found = find_picture(account, request.path)
    if found is None:
        return storage_error(404, "NoSuchKey", "The specified key does not exist.")
    task, index = found
    reply = (
        _fetch_refusal(account, request, task)
        or _spoilt(account, task)
        or _drawn(account, task, index, is_first=_is_first_fetch(account, request))
    )
    account.journal.note("fetch", taskId=task.id, status=reply.status)
    return reply


def find_picture(account: Account, path: str) -> tuple[Task, int] | None:
    """The task and the picture's number, if the task has succeeded and still keeps it."""
    name = path.rpartition("/")[2]
    task = account.tasks.get(name[:32])
    now = time.time()
    if task is None or task.state(now) != "success" or now > (task.ends or 0) + RESULT_LIFE:
        return None
    names = records.file_names(task)
    return (task, names.index(name)) if name in names else None


def is_missing(account: Account, url: str) -> bool:
    """Is this a link to a file of ours that we do not have?"""
    path = unquote(urlsplit(url).path)
    kept = account.tasks.upload(path.lstrip("/")) or find_picture(account, path)
    return url.startswith(f"{account.url}/") and kept is None


def _own_file(account: Account, url: str) -> tuple[str, bytes] | None:
    """Content type and bytes of an upload or a picture that we have."""
    if not url.startswith(f"{account.url}/"):
        return None
    path = unquote(urlsplit(url).path)
    found = find_picture(account, path)
    if found is None:
        return account.tasks.upload(path.lstrip("/"))
    return f"image/{records.file_format(found[0])}", account.pictures.of(*found)


def _fetch_refusal(account: Account, request: Request, task: Task) -> Reply | None:
    expires = request.query.get("expires", "")
    is_fresh = expires.isdigit() and int(expires) > time.time()
    if (expires and not is_fresh) or ("result_expired" in task.faults and not is_fresh):
        return storage_error(403, "AccessDenied", "Request has expired")
    if "result_403" in task.faults:
        return storage_error(403, "AccessDenied", "Access Denied")
    if "result_404" in task.faults:
        return storage_error(404, "NoSuchKey", "The specified key does not exist.")
    if "result_503_once" in task.faults and _is_first_fetch(account, request):
        return storage_error(503, "SlowDown", "Please reduce your request rate.")
    return None


def _spoilt(account: Account, task: Task) -> Reply | None:
    """Something else than the picture, for the faults that ask for it."""
    if "result_html" in task.faults:
        return Reply(b"<!doctype html><title>Please wait</title>", 200, "text/html")
    if "result_junk" in task.faults:
        return Reply(secrets.token_bytes(50_000), 200, "image/png")
    if "result_redirect" in task.faults:
        return Reply(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"})
    if "result_endless" in task.faults:
        return Reply(content_type="image/png", stream=_endless())
    return None


def _is_first_fetch(account: Account, request: Request) -> bool:
    is_first = request.path not in account.fetched
    account.fetched.add(request.path)
    return is_first


def _drawn(account: Account, task: Task, index: int, *, is_first: bool) -> Reply:
    data = account.pictures.of(task, index)
    reply = Reply(data, 200, f"image/{records.file_format(task)}")
    if "result_cut" in task.faults or ("result_cut_once" in task.faults and is_first):
        reply.headers["Content-Length"] = str(len(data))
        reply.stream = iter([data[: len(data) // 2]])
    if "result_slow" in task.faults:
        reply.headers["Content-Length"] = str(len(data))
        reply.stream = _drops(data, account.options.slow_seconds)
    return reply


def _drops(data: bytes, seconds: float) -> Iterator[bytes]:
    pieces = 20
    size = len(data) // pieces + 1
    for start in range(0, len(data), size):
        time.sleep(seconds / pieces)
        yield data[start : start + size]


def _endless() -> Iterator[bytes]:
    yield b"\x89PNG\r\n\x1a\n"
    while True:
        yield bytes(65536)


def received_uploads(account: Account) -> list[dict[str, Any]]:
    return [u | {"url": f"{account.url}/{quote(u['path'])}"} for u in account.tasks.uploads()]
