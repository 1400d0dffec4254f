"""Ingest: provider files become COGs (or Parquet) and STAC items of the inputs catalogue.

`pipeline` is the flow for any provider; `registry` names the providers; `provider_interface` says what a provider
must offer. `providers/` knows one product each, `formats/` reads files. It may import the catalogue, pixels,
storage and core, and no other stage.
"""
