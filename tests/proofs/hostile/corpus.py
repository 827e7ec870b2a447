"""The corpus: what KIE's file host may do to us, and what has to become of the order then.

`never`: it failed, and its credits are given back. `later`: it waits, with its hold open and
nothing charged. `staff`: its credits are given back, and staff look at it. `clean`: it is charged,
and what is stored is a picture and nothing else.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.proofs.hostile import files
from tests.proofs.hostile.files import HTML, PHP, SCRIPT, Make
from tests.proofs.hostile.manners import (
    CHUNKED,
    OK,
    Answer,
    Body,
    cut,
    drip,
    endless,
    flood,
    made,
    raw,
    redirect,
    reset,
    silent,
    status,
)

# Addresses of the open Internet. In a lane they lead to the host (network.py).
PUBLIC, PUBLIC_V6 = "151.101.1.6", "2a04:4e42::6"
SILENT, DRIPPING, PLAIN = "151.101.1.7", "151.101.1.8", "151.101.1.9"  # at the TLS handshake
NOWHERE = "151.101.1.10"

# What must not be found in a stored file.
MARKS = (
    HTML,
    PHP,
    SCRIPT,
    b"evil",
    b"PK\x03\x04",
    b"Evil.class",
    files.GPS.encode(),
    b"GPS",
    b"x:xmp",
)


@dataclass(frozen=True)
class Case:
    """What one order meets.

    `links` are those of the result. In them `{host}` stands for the file host, `{other}` for
    another port of its machine, `{host_over_tls}` for its own port, `{name}` for the case. `names`
    says what a name leads to, one answer after the other. `fresh` is the link that KIE gives for
    one that has expired. `record` is recordInfo's whole body.
    """

    kind: str
    name: str
    expected: str
    answer: Answer = status(500)
    links: tuple[str, ...] = ("{host}/f/{name}",)
    names: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    fresh: str = ""
    record: bytes = b""
    # Both are left out of the short run.
    is_slow: bool = False  # waits for more than 20 s
    is_costly: bool = False  # keeps a processor busy for seconds, and comes when others are through


def corpus() -> list[Case]:
    """All cases. Those that wait long come first, so that all ends soon."""
    cases = [*connections(), *tls(), *types(), *bombs(), *sizes(), *damaged(), *polyglots()]
    cases += [*lengths(), *statuses(), *links(), *redirects(), *names(), *results(), *harmless()]
    assert len({case.name for case in cases}) == len(cases)
    return cases


def named(kind: str, expected: str, answers: Mapping[str, Answer], **more: Any) -> Iterator[Case]:
    return (Case(kind, name, expected, answer, **more) for name, answer in answers.items())


def served(kind: str, expected: str, makes: Mapping[str, Make], **more: Any) -> Iterator[Case]:
    return named(kind, expected, {name: Body(make) for name, make in makes.items()}, **more)


def types() -> Iterator[Case]:
    encoded = partial(partial, files.encoded)
    yield from served(
        "wrong types",
        "never",
        {
            "gif": files.gif,
            "gif-5000-frames": lambda: files.gif(5000),
            "bmp": encoded("BMP"),
            "tiff": encoded("TIFF"),
            "ico-with-png": files.icon,
            "psd": files.psd,
            "avif": encoded("AVIF"),
            "heic": files.heic,
            "jpeg-2000": encoded("JPEG2000"),
            "jpeg-xl": files.jpeg_xl,
            "tga": encoded("TGA"),
            "pcx": encoded("PCX"),
            "dds": encoded("DDS"),
            "ppm-16000": files.portable,
            "pdf": encoded("PDF"),
            "postscript-pipe": files.postscript,
            "mp4": files.mp4,
            "wav": lambda: b"RIFF\x24\0\0\0WAVEfmt " + bytes(28),
            "avi": lambda: b"RIFF\x24\0\0\0AVI LIST" + bytes(28),
            "elf": files.elf,
            "zip": files.archive,
            "gzip-of-png": lambda: gzip.compress(files.png()),
            "empty": lambda: b"",
            "one-byte": lambda: b"\x89",
            "text": lambda: b"image",
            "json-error": lambda: b'{"code":500,"msg":"internal error"}',
            "html": lambda: HTML,
        },
    )
    yield from named(
        "wrong types",
        "never",
        {
            "html-as-html": Body(lambda: HTML, "text/html; charset=utf-8"),
            "login-page": Body(lambda: HTML * 50_000, "text/html", also="Set-Cookie: a=b\r\n"),
        },
    )
    yield from served(
        "SVG",
        "never",
        {
            "svg-script": files.svg_script,
            "svg-entity": files.svg_entity,
            "svg-laughs": files.svg_laughs,
            "svg-huge": files.svg_huge,
            "svg-with-png": files.svg_with_png,
            "svg-packed": files.svg_packed,
        },
    )


def bombs() -> Iterator[Case]:
    yield from served(
        "bombs",
        "never",
        {
            "png-30000": files.png_30000,
            "png-16384": files.png_16384,
            "png-says-65535": files.png_says(65_535, 65_535),
            "png-says-2147483647": files.png_says(2**31 - 1, 2**31 - 1),
            "png-says-4294967295": files.png_says(2**32 - 1, 1),
            "jpeg-says-65500": files.jpeg_says(65_500, 65_500),
            "jpeg-progressive-7071": files.jpeg_says(7071, 7071, progressive=True, subsampling=0),
            "jpeg-cmyk-7071": files.jpeg_says(7071, 7071, progressive=True, mode="CMYK"),
            "webp-16383": files.webp_says(16_383, 16_383),
            "webp-7071": files.webp_says(7071, 7071),
            "webp-canvas-16777216": files.webp_canvas,
            "webp-lossy-says-16383": files.webp_lossy_says,
            "png-5000-frames": files.animated_png,
            "webp-3000-frames": files.animated_webp,
            "jpeg-5000-pieces": files.pieces,
            "png-profile-bomb": files.profile_bomb,
            "png-pixel-bomb": files.pixel_bomb,
            "too-many-bytes": files.too_many_bytes,
            "jpeg-markers": files.markers,
        },
    )
    costly = {"jpeg-9900000-segments": files.segments, "jpeg-60000-scans": files.scans}
    yield from served("bombs", "never", costly, is_costly=True)
    yield from named(
        "packed",
        "never",
        {
            "gzip": Body(lambda: gzip.compress(files.png()), also="Content-Encoding: gzip\r\n"),
            "gzip-bomb": Body(files.packed_bomb, also="Content-Encoding: gzip\r\n"),
            "brotli": Body(lambda: b"\x0b\x02\x80png\x03", also="Content-Encoding: br\r\n"),
            "gzip-40-times": Body(files.packed_bomb, also=f"Content-Encoding: {'gzip, ' * 40}\r\n"),
        },
    )


def sizes() -> Iterator[Case]:
    yield from served(
        "strips and sizes",
        "never",
        {
            "png-1x16385": files.strip(1, 16_385),
            "png-16385x1": files.strip(16_385, 1),
            "png-1x1000000": files.strip(1, 1_000_000),
            "png-0x50": files.strip(0, 50),
            "png-50x0": files.strip(50, 0),
            "jpeg-0-high": files.jpeg_says(64, 0),
            "jpeg-0-wide": files.jpeg_says(0, 64),
            "jpeg-65535x1": files.jpeg_says(65_535, 1),
        },
    )


def damaged() -> Iterator[Case]:
    yield from served(
        "damaged",
        "never",
        {
            "png-header-crc": files.changed(files.png, 29, b"\0\0"),
            "png-pixels-crc": files.changed(files.png, -16, b"\0\0\0\0"),
            "png-a-changed-byte": files.changed(files.png, 3000, b"\0\1\2"),
            "png-no-end": files.no_end,
            "png-no-pixels": files.without_pixels,
            "png-half-the-pixels": files.half_the_pixels,
            "png-a-pixel-more": files.pixels_and_more,
            "png-noise-for-pixels": files.pixels_of_noise,
            "png-no-palette": files.palette_missing,
            "png-7-bits": files.wrong_depth,
            "png-filter-99": files.wrong_filter,
            "png-of-apple": files.apple,
            "png-chunk-of-2-gb": files.length_of_a_gigabyte,
            "jpeg-two-frames": files.two_frames,
            "jpeg-no-tables": files.no_tables,
            "webp-start-code": files.changed(files.webp, 23, b"\0\0\0"),
            "webp-says-less": files.riff_says(100),
            "webp-says-more": files.riff_says(999_999),
            "webp-says-4-gb": files.riff_says(2**32 - 10),
            "webp-no-picture": files.webp_without_picture,
        },
    )
    yield from served(
        "truncated",
        "never",
        {
            "png-signature": files.cut(files.png, 8),
            "png-half-a-header": files.cut(files.png, 20),
            "png-header": files.cut(files.png, 33),
            "png-half": files.cut(files.png, 0.5),
            "png-last-byte": files.cut(files.png, -1),
            "jpeg-start": files.cut(files.jpeg, 3),
            "jpeg-before-frame": files.cut(files.jpeg, b"\xff\xc0"),
            "jpeg-before-scan": files.cut(files.jpeg, b"\xff\xda"),
            "jpeg-half": files.cut(files.jpeg, 0.5),
            "jpeg-last-byte": files.cut(files.jpeg, -1),
            "webp-start": files.cut(files.webp, 12),
            "webp-half": files.cut(files.webp, 0.5),
            "webp-last-byte": files.cut(files.webp, -1),
        },
    )


def polyglots() -> Iterator[Case]:
    yield from served(
        "polyglots",
        "never",
        {
            "gif-and-jar": files.gif_and_archive,
            "gif-and-script": files.gif_and_script,
            "html-then-png": files.before(HTML, files.png),
            "zip-then-png": files.before(files.archive(), files.png),
            "pdf-then-jpeg": files.before(b"%PDF-1.7\n", files.jpeg),
            "exe-then-png": files.before(b"MZ" + bytes(62), files.png),
            "newline-then-png": files.before(b"\n", files.png),
            "bom-then-svg": files.before(b"\xef\xbb\xbf", files.svg_script),
            "mime-message": files.mime_message,
            "png-start-then-html": files.before(files.SIGNATURE, lambda: HTML),
            "jpeg-start-then-html": files.before(b"\xff\xd8\xff\xe0", lambda: HTML),
            "webp-start-then-html": files.before(b"RIFF\x40\0\0\0WEBP", lambda: HTML * 9),
            "png-with-html-in-its-pixels": files.behind_the_pixels,
            "php-then-jpeg": files.before(PHP, files.jpeg),
        },
    )


def lengths() -> Iterator[Case]:
    """Ways to say, or not to say, how long a body is."""
    yield from named(
        "lengths",
        "never",
        {
            "endless": endless(OK + b"\r\n", bytes(65_536)),
            "endless-chunks": endless(CHUNKED, b"10000\r\n" + bytes(65_536) + b"\r\n"),
            "says-41-mb": Body(files.png, length=41_000_000),
            "says-an-exabyte": Body(files.png, length=10**18),
            "says-less": Body(files.png, length=500),
            "says-0": Body(files.png, length=0),
            "says-less-than-0": endless(OK + b"Content-Length: -1\r\n\r\n", bytes(65_536)),
            "two-lengths": made(OK + b"Content-Length: 9\r\nContent-Length: 99\r\n\r\n", files.png),
            "pieces-of-2-bytes": flood(CHUNKED, [b"2\r\nab\r\n" * 10_000] * 100 + [b"0\r\n\r\n"]),
            "no-chunks": raw(CHUNKED, b"0\r\n\r\n"),
            "chunks-of-html": raw(CHUNKED, b"%x\r\n" % len(HTML), HTML, b"\r\n0\r\n\r\n"),
        },
    )
    yield from named(
        "lengths",
        "later",
        {
            "says-more": Body(files.png, length=30_000_000),
            "chunks-cut": raw(CHUNKED, b"ffff\r\n", files.png()[:900]),
            "chunk-of-words": raw(CHUNKED, b"many\r\n", files.png()),
            "chunk-of-16-eb": raw(CHUNKED, b"ffffffffffffffff\r\n", files.png()),
            "chunk-of-less-than-0": raw(CHUNKED, b"-5\r\n", files.png()),
            "chunk-size-of-70-kb": raw(CHUNKED, b"0" * 70_000, b"1\r\na\r\n0\r\n\r\n"),
            "reset-in-the-body": reset(OK + b"Content-Length: 99999\r\n\r\n" + files.SIGNATURE),
        },
    )
    yield from named(
        "lengths",
        "later",
        # Not as fast as it is taken: a quick machine would have too many bytes before it is late.
        {"endless-pieces-of-2-bytes": drip(CHUNKED, b"2\r\nab\r\n" * 10_000)},
        is_slow=True,
    )


def connections() -> Iterator[Case]:
    """Ways not to speak HTTP, or not to come to an end with it."""
    yield from named(
        "slow and silent",
        "later",
        {
            "silent": silent(),
            "silent-after-status": silent(OK),
            "silent-in-the-body": silent(OK + b"Content-Length: 999\r\n\r\n\x89PNG"),
            "silent-chunks": silent(CHUNKED + b"5\r\n\x89P"),
            "drip-status": drip(b"", b"H"),
            "drip-headers": drip(OK, b"X: y\r\n"),
            "drip-a-header": drip(OK + b"X: ", b"y"),
            "drip-a-redirect": drip(b"HTTP/1.1 302 Found\r\nLocation: /", b"y"),
            "drip-continue": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
        },
    )
    yield from named(
        "slow and silent",
        "later",
        {
            "continue-for-ever": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
            "continue-with-headers": endless(
                b"", (b"HTTP/1.1 100 C\r\n" + b"X: y\r\n" * 99 + b"\r\n") * 100
            ),
            "drip-body": drip(OK + b"\r\n", b"\x89"),
            "drip-body-with-length": drip(OK + b"Content-Length: 99999\r\n\r\n", b"\x89"),
            "drip-chunks": drip(CHUNKED, b"1\r\na\r\n"),
            "drip-trailers": drip(CHUNKED + b"0\r\n", b"X: y\r\n"),
            "drip-four-redirects": drip(
                b"HTTP/1.1 302 Found\r\n", b"X: y\r\n", b"Location: /f/silent\r\n\r\n", times=40
            ),
        },
        is_slow=True,
    )
    yield from named(
        "not HTTP",
        "later",
        {
            "closed-at-once": raw(b""),
            "reset-at-once": reset(b""),
            "http-0.9": made(b"", files.png),
            "http-9.9": made(b"HTTP/9.9 200 OK\r\n\r\n", files.png),
            "ssh": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
            "tls": raw(b"\x16\x03\x03\0\x7a\2\0\0\x76" + bytes(99)),
            "nuls": raw(bytes(5000)),
            "escapes": raw(b"\x1b]0;evil\x07\x1b[2J\0\x80\r\n\r\n"),
            "status-of-letters": raw(b"HTTP/1.1 two OK\r\n\r\n"),
            "status-99999": raw(b"HTTP/1.1 99999 OK\r\n\r\n"),
            "a-header-of-70-kb": raw(OK, b"X: ", b"y" * 70_000, b"\r\n\r\n"),
            "200-headers": raw(OK, b"X: y\r\n" * 200, b"\r\n"),
            "endless-headers": endless(OK, b"X: " + b"y" * 60_000 + b"\r\n"),
            "endless-status": endless(b"HTTP/1.1 200 ", b"O" * 60_000),
        },
    )


def statuses() -> Iterator[Case]:
    for code in (201, 204, 206, 300, 304, 400, 401, 418):
        yield Case("statuses", f"status-{code}", "never", status(code))
    for code in (408, 429, 500, 503, 520):
        yield Case("statuses", f"status-{code}", "later", status(code))
    for code in (403, 404, 410):
        yield Case("statuses", f"status-{code}", "staff", status(code))
    gone = status(404)
    yield Case("statuses", "expired-then-private", "never", gone, fresh="https://10.0.0.1/a.png")
    yield Case("statuses", "expired-then-file", "never", gone, fresh="file:///etc/passwd")
    yield Case("statuses", "expired-then-expired", "staff", gone, fresh="{host}/f/{name}")
    yield Case("statuses", "expired-then-html", "never", gone, fresh="{host}/f/html")
    yield Case("statuses", "expired-then-a-mb", "never", gone, fresh="https://" + "a" * 900_000)


SCHEMES = (
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "ftp://127.0.0.1/a.png",
    "dict://127.0.0.1:11211/stats",
    "ldap://127.0.0.1/a",
    "jar:https://127.0.0.1/a.jar!/a.png",
    "data:image/png;base64,iVBORw0KGgo=",
    "javascript:alert(1)",
    "blob:https://a/b",
    "http://cdn.example/a.png",
    "//127.0.0.1/a.png",
    "/etc/passwd",
    "a.png",
)
PRIVATE = (
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "017700000001",
    "0177.0.0.1",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST.",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "10.0.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.192",
    "192.168.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fe80::1%lo]",
    "[ff02::1]",
)
ODD = (
    "https://",
    "https:///a.png",
    "https://[::1/a.png",
    "https://cdn.example:99999/a.png",
    "https://cdn.example:x/a.png",
    f"https://{'a' * 64}.example/a.png",
    "https://a..example/a.png",
    "https://.example/a.png",
    "https://a b.example/a.png",
    "https://me:secret@127.0.0.1/a.png",
    "https://cdn.example@127.0.0.1/a.png",
    "https://127.0.0.1#@cdn.example/a.png",
    "https://cdn.example\\@127.0.0.1/a.png",
    "https://127.0.0.1:22/a.png",
    "https://127.0.0.1:6379/a.png",
    "HTTPS://127.0.0.1/a.png",
    "{other}/a.png",  # the sandbox's machine, and another port
    "{host_over_tls}/a.png",
)


def links() -> Iterator[Case]:
    for number, link in enumerate(SCHEMES):
        yield Case("links: schemes", f"scheme-{number}", "never", links=(link,))
    for number, host in enumerate(PRIVATE):
        link = f"https://{host}/latest/meta-data/"
        yield Case("links: private", f"private-{number}", "never", links=(link,))
    for number, link in enumerate(ODD):
        yield Case("links: odd", f"odd-{number}", "never", links=(link,))


def redirects() -> Iterator[Case]:
    """A link that may be followed, to one that may not."""
    for number, link in enumerate((*SCHEMES[:7], *ODD)):
        if "example" not in link and "{" not in link:
            yield Case("redirects", f"redirect-odd-{number}", "never", redirect(link))
    for number, host in enumerate(PRIVATE[::3]):
        if host.isascii():
            answer = redirect(f"https://{host}/", (301, 302, 303, 307, 308)[number % 5])
            yield Case("redirects", f"redirect-private-{number}", "never", answer)
    yield from named(
        "redirects",
        "never",
        {
            "redirect-to-itself": redirect("/f/redirect-to-itself"),
            "redirect-nowhere": status(302),
            "redirect-empty": redirect(""),
            "redirect-to-a-nul": redirect("https://cdn\0.example/a.png"),
            "redirect-to-latin": redirect("https://cdn\xbd\0.example/a.png"),
            "redirect-of-60-kb": redirect("https://" + "a" * 60_000),
            "redirect-to-the-neighbour": redirect("//127.0.0.1:6379/"),
            "redirect-down": redirect("http://cdn.example/a.png"),
            "redirect-to-html": redirect("/f/html"),
        },
    )


def names() -> Iterator[Case]:
    """What a name leads to. Each is asked for once for each request, and judged before anything is
    sent."""
    own = "https://{name}.example/f/{name}"
    again = redirect("/f/again")
    private: dict[str, list[list[str]]] = {
        "name-private": [["10.1.2.3"]],
        "name-loopback": [["127.0.0.1"]],
        "name-zero": [["0.0.0.0"]],
        "name-metadata": [["169.254.169.254"]],
        "name-mapped": [["::ffff:10.0.0.1"]],
        "name-public-and-private": [[PUBLIC, "192.168.1.1"]],
        "name-public-and-private-v6": [[PUBLIC_V6, "fd00::1"]],
        "name-99-public-one-private": [[PUBLIC] * 99 + ["127.0.0.1"]],
        "name-scoped": [["fe80::1%lo"]],
    }
    for name, answers in private.items():
        yield Case("DNS", name, "never", links=(own,), names={f"{name}.example": answers})
    yield Case(
        "DNS rebinding",
        "rebinding-at-a-redirect",
        "never",
        again,
        links=(own,),
        names={"rebinding-at-a-redirect.example": [[PUBLIC], ["127.0.0.1"]]},
    )
    yield Case(
        "DNS rebinding",
        "rebinding-at-a-fresh-link",
        "never",
        status(404),
        links=(own,),
        fresh=own,
        names={"rebinding-at-a-fresh-link.example": [[PUBLIC], ["169.254.169.254"]]},
    )
    yield Case(
        "DNS rebinding",
        "rebinding-between-check-and-use",
        "never",
        Body(lambda: HTML),
        links=(own,),
        names={"rebinding-between-check-and-use.example": [[PUBLIC], ["127.0.0.1"]]},
    )
    yield Case(
        "DNS rebinding",
        "rebinding-after-a-failure",
        "later",
        links=(own,),
        names={"rebinding-after-a-failure.example": [[NOWHERE], ["127.0.0.1"]]},
    )
    later: dict[str, list[list[str]]] = {
        "name-unknown": [[]],
        "name-nobody-there": [[NOWHERE] * 50],
    }
    for name, answers in later.items():
        yield Case("DNS", name, "later", links=(own,), names={f"{name}.example": answers})


def tls() -> Iterator[Case]:
    """A public name, over TLS. The host's own name decides how it shakes hands."""
    for name in ("tls-self-signed", "tls-expired", "tls-of-somebody-else"):
        yield tls_case(name, "later", Body(files.png))
    for name, address in {"silent": SILENT, "drip": DRIPPING, "plain": PLAIN}.items():
        yield tls_case(f"tls-{name}", "later", Body(files.png), address)
    start = OK + b"\r\n" + files.png()[:200]
    yield tls_case("tls-cut-off", "later", cut(start))
    yield tls_case("tls-html", "never", Body(lambda: HTML))
    yield tls_case("tls-endless", "never", endless(OK + b"\r\n", bytes(65_536)))


def tls_case(name: str, expected: str, answer: Answer, address: str = PUBLIC) -> Case:
    link, leads = "https://{name}.example/f/{name}", {f"{name}.example": [[address]]}
    return Case("TLS", name, expected, answer, links=(link,), names=leads)


def results() -> Iterator[Case]:
    """What recordInfo may say of a task that has succeeded."""
    many: dict[str, tuple[str, ...]] = {
        "16-links-and-5000-more": ("https://10.0.0.1/a.png",) * 5000,
        "16-files": tuple("{host}/f/" + name for name in ("html", "gif", "zip", "svg-script") * 4),
        "link-empty": ("",),
        "link-of-2001-characters": ("https://cdn.example/" + "a" * 1981,),
        "link-of-1990-characters": ("https://10.0.0.1/" + "a" * 1970,),
        "link-with-nul": ("https://cdn.example/\0.png",),
        "link-with-newline": ("https://cdn.example/\r\nHost: 127.0.0.1",),
        "link-with-override": ("https://cdn.example/\u202egnp.exe",),
    }
    for name, found in many.items():
        yield Case("results", name, "never", links=found)
    said: dict[str, object] = {
        "result-nested": {"resultUrls": [["https://10.0.0.1/"], {"url": "https://10.0.0.1/"}, 7]},
        "result-a-string": {"resultUrls": "https://10.0.0.1/a.png"},
        "result-a-number": 5,
    }
    for name, result in said.items():
        yield Case("results", name, "never", record=record(result))
    unclear = {
        "record-of-2-mb": record({"resultUrls": ["https://10.0.0.1/a.png"] * 60_000}),
        "record-too-deep": b'{"code":200,"data":' + b"[" * 100_000,
        "record-of-another": record({"resultUrls": ["{host}/f/png-called-svg"]}, "another"),
        "record-a-long-number": b'{"code":200,"data":{"state":"success","n":' + b"9" * 9000 + b"}}",
        "record-html": HTML,
    }
    for name, whole in unclear.items():
        yield Case("results", name, "later", record=whole)


def record(result: object, task: str = "") -> bytes:
    data = {"state": "success", "resultJson": json.dumps(result)} | (
        {"taskId": task} if task else {}
    )
    return json.dumps({"code": 200, "msg": "success", "data": data}).encode()


def harmless() -> Iterator[Case]:
    """Good pictures with something more in them. They are kept without it."""
    tails = {
        "html": HTML,
        "zip": files.archive(),
        "php": PHP,
        "5-mb": SCRIPT * 220_000,
        "a-second-end": b"\xff\xd9" + HTML,
    }
    makes: dict[str, Make] = {}
    for kind, make in {"png": files.png, "jpeg": files.jpeg, "webp": files.webp}.items():
        makes |= {f"{kind}-then-{name}": files.behind(make, tail) for name, tail in tails.items()}
    makes |= {
        "jpeg-exif-gps": files.jpeg_exif,
        "png-exif-gps": files.png_exif,
        "webp-exif-gps": files.webp_exif,
        "jpeg-comment": files.jpeg_with(comment=SCRIPT),
        "jpeg-xmp": files.jpeg_with(xmp=b"<x:xmpmeta>" + SCRIPT),
        "webp-xmp": files.webp_with(xmp=b"<x:xmpmeta>" + SCRIPT),
        "png-notes": files.png_notes,
        "png-private": files.png_private,
        "png-odd-lengths": files.png_odd_lengths,
        "jpeg-previews": files.jpeg_previews,
        "jpeg-between-segments": files.jpeg_between,
        "jpeg-and-jpeg": files.jpeg_and_jpeg,
        "webp-unknown": files.webp_unknown,
        "webp-simple": files.webp_simple,
        "senseless-profile": files.senseless_profile,
        "profile-with-a-tail": files.profile_with_a_tail,
        "png-still-animation": files.still_animation,
        "png-text-bomb": files.text_bomb,
        "webp-huge-exif": files.huge_exif,
        "jpeg-huge-notes": files.huge_notes,
    }
    yield from served("harmless once clean", "clean", makes)
    yield from served(
        "harmless once clean", "clean", {"png-3200000-chunks": files.chunks}, is_costly=True
    )
    yield from named(
        "harmless once clean",
        "clean",
        {
            "png-called-html": Body(files.png, "text/html", also="Content-Disposition: a.html\r\n"),
            "png-called-svg": Body(files.png, "image/svg+xml"),
        },
    )
    both = ("{host}/f/html", "{host}/f/{name}", "https://127.0.0.1/")
    yield Case("harmless once clean", "one-of-three", "clean", Body(files.jpeg_exif), links=both)
