"""The node types, as data: what each reads, with its defaults, and what it gives."""

from collections.abc import Mapping
from typing import Any

import msgspec

SPLIT_TEXT, TEXT_MODE = "split_text", "text"


class NodeType(msgspec.Struct, frozen=True, kw_only=True):
    """One type of node.

    ``config``: the keys that count, with their defaults; others are accepted and change nothing.
    ``lists``: keys whose value is a list by nature, which is not fanned out. ``outputs``: the keys
    of the output besides ``nodeType``; empty where a service of the operator's decides.
    ``last_of``: which earlier output fills a key that is empty, where that was asked for; one that
    is a list takes all of them.
    """

    name: str
    config: Mapping[str, Any] = {}
    lists: frozenset[str] = frozenset()
    outputs: tuple[str, ...] = ()
    last_of: Mapping[str, str] = {}
    is_service: bool = False


def _service(name: str) -> NodeType:
    return NodeType(name=name, is_service=True)


_ALL = (
    NodeType(
        name="upload_files",
        config={"files": []},
        lists=frozenset({"files"}),
        outputs=("files", "totalFiles"),
    ),
    NodeType(
        name="text_to_text",
        config={
            "prompt": "Write a short creative story.",
            "systemPrompt": "",
            "model": "gpt-4o-mini",
        },
        outputs=("text", "model", "tokens"),
    ),
    NodeType(
        name="text_to_image",
        config={
            "prompt": "A beautiful landscape",
            "aspectRatio": "16:9",
            "provider": "fal",
            "model": "fal-ai/z-image/turbo",
            "size": "1024x1024",
        },
        outputs=("imageUrl", "prompt", "aspectRatio"),
    ),
    NodeType(
        name="text_to_video",
        config={
            "prompt": "A cinematic scene",
            "duration": 5,
            "model": "fal-ai/ltxv-13b-098-distilled",
        },
        outputs=("videoUrl", "prompt", "duration"),
    ),
    NodeType(
        name="text_to_music",
        config={
            "prompt": "Upbeat electronic music",
            "duration": 30,
            "model": "fal-ai/stable-audio",
        },
        outputs=("audioUrl", "prompt", "duration"),
    ),
    NodeType(
        name="text_to_speech",
        config={"text": "Hello world", "voice": "af_bella", "model": "fal-ai/playht/tts/v3"},
        outputs=("audioUrl", "text", "voice"),
        last_of={"text": "text"},
    ),
    NodeType(
        name="image_to_video",
        config={
            "imageUrl": None,
            "prompt": "gentle animation with subtle movement",
            "duration": 5,
            "model": "fal-ai/ltxv-13b-098-distilled/image-to-video",
        },
        outputs=("videoUrl", "sourceImage", "duration"),
        last_of={"imageUrl": "imageUrl"},
    ),
    NodeType(
        name="image_to_image",
        config={"imageUrl": None, "prompt": "Enhance this image", "model": "gpt-image-1-mini"},
        outputs=("imageUrl", "originalUrl"),
        last_of={"imageUrl": "imageUrl"},
    ),
    NodeType(
        name=SPLIT_TEXT,
        config={"text": "", "numSegments": 3, "splitMode": TEXT_MODE, "arrayPath": None},
        lists=frozenset({"text"}),
        outputs=("segments", "items", "totalSegments"),
        last_of={"text": "text"},
    ),
    NodeType(
        name="edit_video",
        config={
            "videoUrl": None,
            "speechUrl": None,
            "musicUrl": None,
            "speechVolume": 1.0,
            "musicVolume": 0.3,
            "subtitleText": None,
            "subtitlePosition": "bottom",
            "subtitleColor": "#ffffff",
            "subtitleSize": 24,
            "items": None,
            "startTime": None,
            "endTime": None,
            "cropRatio": None,
            "filter": None,
        },
        lists=frozenset({"items"}),
        outputs=("videoUrl", "localPath"),
        last_of={"videoUrl": "videoUrl", "speechUrl": "audioUrl"},
    ),
    NodeType(
        name="clip_merger",
        config={"clips": [], "transition": "Cut", "bgmUrl": None},
        lists=frozenset({"clips"}),
        outputs=("videoUrl", "clipsMerged", "note"),
        last_of={"clips": "videoUrl"},
    ),
    _service("face_swap"),
    _service("lip_sync"),
    _service("ai_avatar"),
    _service("enhancer"),
    _service("image_object_removal"),
    _service("image_remove_background"),
    _service("video_sound_effects"),
)

NODE_TYPES: Mapping[str, NodeType] = {one.name: one for one in _ALL}


def list_keys(node: NodeType, config: Mapping[str, Any]) -> frozenset[str]:
    """Return the keys of a config that are not fanned out.

    A list of texts to split by a model is one text after the other; only the modes that take
    lists apart take it whole.
    """
    if node.name == SPLIT_TEXT and (config.get("splitMode") or TEXT_MODE) == TEXT_MODE:
        return frozenset()
    return node.lists
