"""Object storage by boto3: `session` connects, `objects` reads and lists, `store` is a catalogue's store, `probe`
finds out what the service can do.
"""
