"""Reading by http and https, through one client on urllib3.

`client` sends requests and reads byte ranges, `documents` reads documents and small files, `proxy` finds the proxy of
the environment. Imported from here: `download_bytes` by the reading of rasters, `Web` by catalogues, `FileUrl` by
ingest.
"""
