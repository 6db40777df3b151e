"""Results without a provider: the same for the same request, real media, small, and no network."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from batuta.store.blob.media import MediaFiles
from batuta.workers.media.ai import Ai, Services
from batuta.workers.media.film import ffmpeg
from batuta.workers.media.nodes import NODE_TYPES
from batuta.workers.system.target import targets_of
from tests.media.conftest import AGGREGATED, PARALLEL, do, raw_of

NEEDS: dict[str, dict[str, Any]] = {
    "image_to_video": {"imageUrl": "https://x.example/a.png"},
    "image_to_image": {"imageUrl": "https://x.example/a.png"},
    "split_text": {"text": "One. Two. Three. Four."},
    "edit_video": {"videoUrl": "https://x.example/a.mp4"},
    "clip_merger": {"clips": ["https://x.example/a.mp4", "https://x.example/b.mp4"]},
    "upload_files": {"files": [{"name": "a", "url": "https://x.example/a.png"}]},
}
SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "s0"


def urls_in(output: Any) -> list[str]:
    """Find the addresses of our files in an output."""
    if isinstance(output, str):
        return [output] if output.startswith("/files/") else []
    values = output.values() if isinstance(output, dict) else output
    parts = values if isinstance(output, dict | list) else []
    return [url for part in parts for url in urls_in(part)]


@pytest.mark.parametrize("node", NODE_TYPES)
async def test_every_node_is_done_and_gives_what_it_names(
    offline: Services, media: MediaFiles, node: str
) -> None:
    done = await do(offline, node, NEEDS.get(node, {}))

    assert done.status == "COMPLETED", done.reason
    assert set(NODE_TYPES[node].outputs) <= set(done.output)
    assert done.output["nodeType"] == node
    assert len(done.steps) == 1
    for url in urls_in(done.output):
        assert len(raw_of(media, url)) < 200_000


@pytest.mark.parametrize(
    "node", ["text_to_text", "text_to_image", "text_to_speech", "text_to_music", "face_swap"]
)
async def test_the_same_request_gives_the_same_bytes(
    offline: Services, media: MediaFiles, node: str
) -> None:
    outputs = [
        (await do(offline, node, {"prompt": prompt, "text": prompt})).output
        for prompt in ("a", "a", "b")
    ]
    first, again, other = [
        [output.get("text"), *(raw_of(media, url) for url in urls_in(output))] for output in outputs
    ]

    assert first == again
    assert first != other


@pytest.mark.skipif(ffmpeg.find("") is None, reason="there is no ffmpeg on this machine")
async def test_the_same_film_is_made_again(offline: Services, media: MediaFiles) -> None:
    first, again, other = [
        raw_of(media, (await do(offline, "text_to_video", {"prompt": prompt})).output["videoUrl"])
        for prompt in ("a", "a", "b")
    ]

    assert first == again
    assert first != other


async def test_a_picture_is_one_that_can_be_read(offline: Services, media: MediaFiles) -> None:
    done = await do(offline, "text_to_image", {"prompt": "A fox", "aspectRatio": "9:16"})

    raw = raw_of(media, done.output["imageUrl"])
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", raw[16:24]) == (180, 320)
    start = raw.index(b"IDAT")
    (size,) = struct.unpack(">I", raw[start - 4 : start])
    assert len(zlib.decompress(raw[start + 4 : start + 4 + size])) == 320 * (1 + 3 * 180)


async def test_a_sound_is_one_that_can_be_read(
    offline: Services, media: MediaFiles, tmp_path: Path
) -> None:
    import wave

    done = await do(offline, "text_to_music", {"prompt": "Jazz", "duration": 2})

    path = tmp_path / "a.wav"
    path.write_bytes(raw_of(media, done.output["audioUrl"]))
    with wave.open(str(path)) as sound:
        assert sound.getnframes() == 2 * sound.getframerate()
    assert done.output["duration"] == 2


async def test_without_ffmpeg_there_are_films_all_the_same(
    media: MediaFiles, offline: Services, tmp_path: Path
) -> None:
    lacking = Services(
        ai=Ai(is_fake=True, ffmpeg="/no/such/ffmpeg"), media=media, targets=offline.targets
    )

    first = await do(lacking, "text_to_video", {"prompt": "a"})
    other = await do(lacking, "text_to_video", {"prompt": "b"})
    merged = await do(lacking, "clip_merger", {"clips": [first.output["videoUrl"]]})

    films = [raw_of(media, one.output["videoUrl"]) for one in (first, other, merged)]
    assert len(set(films)) == 3
    assert all(film[4:8] == b"ftyp" for film in films)
    program = ffmpeg.find("")
    if program is None:
        return
    path = tmp_path / "film"
    path.write_bytes(films[0])
    found = await ffmpeg.probe(program, path)
    assert (found.width, found.height, found.seconds) == (64, 36, 1.0)


async def test_a_shared_server_makes_results_up_too(media: MediaFiles) -> None:
    shared = Services(ai=Ai(is_fake=True), media=media, targets=targets_of((), is_shared=True))

    assert (await do(shared, "text_to_image", {})).status == "COMPLETED"


def as_run(nodes: list[dict[str, Any]], outputs: dict[str, Any], config: Any) -> Any:
    """Replace references as the engine does."""
    if isinstance(config, dict) and config.get("_type") == "reference":
        return outputs[config["nodeId"]].get(config["outputKey"])
    if isinstance(config, dict):
        return {key: as_run(nodes, outputs, value) for key, value in config.items()}
    return config


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample flows are not beside the repository")
@pytest.mark.parametrize("name", ["sample-story-video-workflow", "test-multi-node-workflow"])
async def test_a_flow_of_the_builder_is_done_from_its_first_node_to_its_last(
    offline: Services, media: MediaFiles, name: str
) -> None:
    flow = json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))
    outputs: dict[str, Any] = {}

    for node in flow["nodes"]:
        config = as_run(flow["nodes"], outputs, node["config"])
        done = await do(offline, node["type"], config, node.get("execution"))
        assert done.status == "COMPLETED", done.reason
        outputs[node["id"]] = done.output

    last = outputs[flow["nodes"][-1]["id"]]
    assert raw_of(media, last["videoUrl"])[4:8] == b"ftyp"
    if "node-final-merge" in outputs:
        assert last["itemsCount"] == 3
        assert len(outputs["node-img-all"]["imageUrl"]) == 3


@pytest.mark.parametrize("execution", [PARALLEL, {}, AGGREGATED])
async def test_lists_are_done_whatever_the_mode(
    offline: Services, execution: dict[str, Any]
) -> None:
    done = await do(offline, "text_to_image", {"prompt": ["a", "b", "c"]}, execution)

    assert done.output["itemsCount"] == 3
