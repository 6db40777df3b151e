"""Those who make texts, pictures, films and sound: OpenAI's API, fal's, a service, and nobody.

Plain coroutines, for whoever has ``Services``. Each raises ``NodeError`` for what no retry mends
and ``TroubleError`` for what may pass; no text of theirs holds a key.
"""
