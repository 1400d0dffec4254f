"""Fetch inputs from the services that provide them, each by its own protocol, into files that ingest reads.

A source says which requests a place and a period take (`request.Request`), with their sizes and files; `transfer` moves
bytes so that no part of a file looks like a whole one. `registry` has the sources by the names that users type.
What a file holds is read by ingest; here it is only seen whether it is whole.
"""
