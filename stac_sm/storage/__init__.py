"""Where bytes lie: a folder, S3 or http, with one policy of retries and one rule of trust.

`address` says which kind an address is; `store` is a catalogue's store on disk; `s3/` the same on object storage;
`http/` reads; `update` changes a file by compare and swap; `trust` decides which addresses may be followed, `signing`
adds tokens, `retry` classifies failures, `disk_lock` keeps a second process of this machine out.
"""
