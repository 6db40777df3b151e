"""Where the journal goes: brokers, streams, files, webhooks. At least once, in order for a run.

A `Relay` reads the journal after its sink's cursor, tells what each entry means and delivers that.
Nothing here is on the path of a run: a sink that is away only falls behind.
"""
