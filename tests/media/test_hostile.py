"""Addresses that users choose: what is fetched, what is refused, and what ffmpeg never sees."""

import base64
from typing import Any

import pytest

from batuta.store.blob.media import MediaFiles
from batuta.workers.media import source
from batuta.workers.media.ai import Ai, Services
from batuta.workers.media.call import NodeError, TroubleError
from batuta.workers.media.source import checked, image_bytes, own_file, read_data
from batuta.workers.system.target import targets_of
from tests.media.conftest import do, live, raw_of
from tests.media.providers import FILM, PICTURE, Providers

FILM_NODES = [
    ("edit_video", "videoUrl"),
    ("edit_video", "speechUrl"),
    ("edit_video", "musicUrl"),
    ("clip_merger", "clips"),
    ("clip_merger", "bgmUrl"),
]


def shared(services: Services) -> Services:
    """Give the same on a server that others reach."""
    return Services(
        ai=services.ai,
        media=services.media,
        targets=targets_of((), is_shared=True),
        retry_ms=1,
        ask_ms=1,
    )


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "ftp://x.example/a.png",
        "concat:a|b",
        "gopher://x",
        "javascript:alert(1)",
        "blob:http://x.example/1",
        "http:/x",
        "a.png",
        7,
        {"url": 7},
        "https://x.example/" + "a" * 9_000,
        "-i /etc/passwd",
    ],
)
@pytest.mark.parametrize(
    ("node", "key"), [("image_to_image", "imageUrl"), ("image_to_video", "imageUrl"), *FILM_NODES]
)
async def test_only_addresses_of_media_are_taken(
    services: Services, providers: Providers, node: str, key: str, url: Any
) -> None:
    config = {"videoUrl": f"{providers.url}/a.mp4"} if node == "edit_video" else {}
    if key == "bgmUrl":
        config = {"clips": [f"{providers.url}/a.mp4"]}

    done = await do(services, node, {**config, key: [url] if key == "clips" else url})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "give an address that begins with" in (done.reason or "") or key == "clips"


@pytest.mark.parametrize("node", ["image_to_image"])
async def test_a_redirect_to_the_metadata_service_is_refused(
    services: Services, providers: Providers, node: str
) -> None:
    done = await do(services, node, {"imageUrl": f"{providers.url}/metadata"})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "metadata address" in (done.reason or "")
    assert providers.lines() == ["GET /metadata"]


@pytest.mark.parametrize(("node", "key"), FILM_NODES)
@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"])
async def test_no_film_is_fetched_from_a_metadata_service(
    services: Services, providers: Providers, node: str, key: str, host: str
) -> None:
    film = f"{providers.url}/a.mp4"
    config: dict[str, Any] = {"videoUrl": film, "clips": [film]}
    url = f"http://{host}/latest"

    done = await do(services, node, {**config, key: [url] if key == "clips" else url})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "metadata" in (done.reason or "")


async def test_a_server_that_others_reach_fetches_nothing_from_its_own_network(
    services: Services, providers: Providers
) -> None:
    done = await do(shared(services), "image_to_image", {"imageUrl": f"{providers.url}/a.png"})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "no public address" in (done.reason or "")
    assert providers.seen == []


async def test_the_operators_own_addresses_are_called_wherever_they_are(
    services: Services,
) -> None:
    done = await do(shared(services), "text_to_text", {})

    assert done.status == "COMPLETED"


async def test_what_is_no_picture_is_not_sent_on(services: Services, providers: Providers) -> None:
    done = await do(services, "image_to_image", {"imageUrl": f"{providers.url}/page.html"})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "is text/html; image was asked for" in (done.reason or "")
    assert providers.lines("POST") == []


async def test_a_type_that_says_nothing_goes_by_the_name(
    services: Services, providers: Providers
) -> None:
    raw, media_type = await image_bytes(services, f"{providers.url}/bare")

    assert (raw, media_type) == (PICTURE, "application/octet-stream")


async def test_a_picture_that_is_too_large_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch, services: Services, providers: Providers
) -> None:
    monkeypatch.setattr(source, "IMAGE_BYTES_MAX", 100_000)

    done = await do(services, "image_to_image", {"imageUrl": f"{providers.url}/big.png"})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert done.reason == "a file is larger than 100,000 bytes"


@pytest.mark.parametrize(("path", "kind"), [("gone.png", NodeError), ("busy.png", TroubleError)])
async def test_a_picture_that_is_not_there_may_come_or_not(
    services: Services, providers: Providers, path: str, kind: type[Exception]
) -> None:
    from aiohttp import web

    providers.instead("GET /busy.png", web.Response(status=503))

    with pytest.raises(kind, match=r"(404|503) from GET http://127.0.0.1"):
        await image_bytes(services, f"{providers.url}/{path}")


async def test_a_query_that_may_be_a_secret_is_in_no_error(
    services: Services, providers: Providers
) -> None:
    url = f"{providers.url}/gone.png?signature=hunter2"

    done = await do(services, "image_to_image", {"imageUrl": url})

    assert "404" in (done.reason or "")
    assert "hunter2" not in (done.reason or "")


@pytest.mark.parametrize(
    "url",
    [
        "/files/../../etc/passwd",
        "/files/" + "0" * 32 + ".png",
        "/files/x/y.png",
        "/files/",
    ],
)
async def test_a_file_of_ours_that_is_not_there_is_named(services: Services, url: str) -> None:
    done = await do(services, "image_to_image", {"imageUrl": url})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "there is no file" in (done.reason or "")


@pytest.mark.parametrize(
    "shape",
    ["{}", "http://localhost:8080{}", "https://flows.example{}", "http://localhost{}?x=1"],
)
async def test_a_file_of_ours_is_known_under_whatever_host(
    services: Services, media: MediaFiles, shape: str
) -> None:
    file = await media.put(PICTURE, media_type="image/png")

    assert own_file(services, shape.format(file.url)) == media.path(file.name)


@pytest.mark.parametrize(
    "url", ["http://x.example/other/files/{}", "http://[::1/files/{}", "data:,/files/{}", "{}"]
)
async def test_another_path_is_no_file_of_ours(
    services: Services, media: MediaFiles, url: str
) -> None:
    file = await media.put(PICTURE, media_type="image/png")

    assert own_file(services, url.format(file.name)) is None


@pytest.mark.parametrize(
    ("url", "raw", "media_type"),
    [
        ("data:image/png;base64,aGk=", b"hi", "image/png"),
        ("DATA:IMAGE/PNG;BASE64,aGk=", b"hi", "image/png"),
        ("data:,hi%20there", b"hi there", "text/plain"),
        ("data:text/plain;charset=utf-8;base64,aGk=", b"hi", "text/plain"),
    ],
)
def test_data_urls_are_read(url: str, raw: bytes, media_type: str) -> None:
    assert read_data(url) == (raw, media_type)


@pytest.mark.parametrize("url", ["data:", "data:image/png;base64", "data:image/png;base64,@@"])
def test_data_urls_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(NodeError):
        read_data(url)


def test_an_address_keeps_its_text() -> None:
    assert checked("  https://x.example/a b.png ", "k") == "https://x.example/a b.png"


async def test_a_page_that_poses_as_a_file_is_only_to_be_downloaded(
    services: Services, media: MediaFiles
) -> None:
    page = f"data:text/html;base64,{base64.b64encode(b'<script>').decode()}"

    done = await do(services, "upload_files", {"files": [{"name": "x", "url": page}]})

    url = done.output["files"][0]["url"]
    assert url.endswith(".bin")
    assert raw_of(media, url) == b"<script>"


@pytest.mark.parametrize("name", ["list.m3u8", "concat.mp4", "noise.mp4"])
async def test_a_list_of_other_files_is_no_film(
    services: Services, providers: Providers, name: str
) -> None:
    clips = [f"{providers.url}/a.mp4", f"{providers.url}/{name}"]

    done = await do(services, "clip_merger", {"clips": clips})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "ffmpeg cannot read a file as film or sound" in (done.reason or "")
    assert "root:" not in (done.reason or "")


async def test_fake_results_are_made_without_any_network(
    media: MediaFiles, providers: Providers
) -> None:
    services = live(media, providers, is_fake=True)
    film = await media.put(FILM, media_type="video/mp4")

    for node, config in {
        "text_to_text": {},
        "split_text": {"text": "A. B. C."},
        "text_to_image": {"provider": "openai"},
        "image_to_image": {"imageUrl": f"{providers.url}/a.png"},
        "image_to_video": {"imageUrl": f"{providers.url}/a.png"},
        "edit_video": {"videoUrl": f"{providers.url}/a.mp4"},
        "clip_merger": {"clips": [f"{providers.url}/a.mp4", film.url]},
        "face_swap": {},
    }.items():
        assert (await do(services, node, config)).status == "COMPLETED", node
    assert providers.seen == []
    assert Ai().is_fake is False
