"""Where bytes lie: a folder, S3 or http, with one policy of retries and one rule of trust.

`store` is a catalogue's store on disk; `s3/` the same on object storage; `http/` reads; `trust` decides which
addresses may be followed, `signing` adds tokens, `retry` classifies failures.
"""
